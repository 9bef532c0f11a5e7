// The per-request way in ASP.NET Core, as in the scenario: a middleware takes the request's CUP token (the Cognito user
// pool ID token) and gives the handler an S3 client with that user's role.
//
//     BROKER=http://127.0.0.1:2870 BUCKET=documents dotnet run
//
// GET and PUT /documents/KEY with `Authorization: <ID token>`. The broker answers from its cache, so it is asked at every
// request: whose token has expired, or who lost a group, is refused by the next one. Packages: AWSSDK.S3.

using System.Net.Http.Json;
using Amazon.Runtime;
using Amazon.S3;
using Amazon.S3.Model;

var builder = WebApplication.CreateBuilder(args);
var bucket = Environment.GetEnvironmentVariable("BUCKET");
builder.Services
    .AddHttpClient<Broker>(http =>
    {
        http.BaseAddress = new Uri(Environment.GetEnvironmentVariable("BROKER")!);
        http.Timeout = TimeSpan.FromSeconds(5);
    })
    // No proxy of the environment may see a user's token.
    .ConfigurePrimaryHttpMessageHandler(() => new SocketsHttpHandler { UseProxy = false });
builder.Services.AddScoped<CurrentUser>();
var app = builder.Build();
app.UseMiddleware<UserCredentials>();

app.MapGet("/documents/{**key}", async (string key, CurrentUser user) =>
{
    using var found = await user.S3.GetObjectAsync(bucket, key);
    using var text = new StreamReader(found.ResponseStream);
    return await text.ReadToEndAsync();
});
app.MapPut("/documents/{**key}", async (string key, HttpRequest request, CurrentUser user) =>
{
    using var body = new MemoryStream();
    await request.Body.CopyToAsync(body);
    await user.S3.PutObjectAsync(new PutObjectRequest { BucketName = bucket, Key = key, InputStream = body });
    return "written";
});
app.Run();

/// What the handlers of one request share: an S3 client with the role of the user who sent it.
public sealed class CurrentUser : IDisposable
{
    private AmazonS3Client? s3;

    public AmazonS3Client S3 => s3 ?? throw new InvalidOperationException("the middleware did not run");

    public void Become(AWSCredentials credentials) => s3 = new AmazonS3Client(credentials);

    public void Dispose() => s3?.Dispose();
}

/// The broker's answer to a token: the user's credentials.
public sealed record User(string AccessKeyId, string SecretAccessKey, string Token);

/// The broker's HTTP door.
public sealed class Broker(HttpClient http)
{
    /// The answer to this token, to be read or to be passed on.
    public Task<HttpResponseMessage> Ask(string token)
    {
        var request = new HttpRequestMessage(HttpMethod.Get, "/v1/credentials");
        request.Headers.TryAddWithoutValidation("Authorization", token);
        return http.SendAsync(request);
    }
}

/// Before each handler: the user's credentials, or the broker's own refusal as the answer.
public sealed class UserCredentials(RequestDelegate next)
{
    public async Task InvokeAsync(HttpContext context, Broker broker, CurrentUser current)
    {
        using var answer = await broker.Ask(context.Request.Headers.Authorization.ToString());
        if (!answer.IsSuccessStatusCode)
        {
            context.Response.StatusCode = (int)answer.StatusCode;
            await context.Response.WriteAsync(await answer.Content.ReadAsStringAsync());
            return;
        }
        var user = (await answer.Content.ReadFromJsonAsync<User>())!;
        current.Become(new SessionAWSCredentials(user.AccessKeyId, user.SecretAccessKey, user.Token));
        try
        {
            await next(context);
        }
        catch (AmazonS3Exception refused)
        {
            context.Response.StatusCode = (int)refused.StatusCode;
            await context.Response.WriteAsync(refused.ErrorCode ?? "no answer");
        }
    }
}
