// The container-credentials way: a program with a stock AWS SDK, and no line about cupbearer.
//
//     export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:2870/v1/credentials
//     export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=/run/app/user.jwt
//     dotnet run BUCKET KEY
//
// The SDK asks the broker by itself, and again when 15 minutes are left. Packages: AWSSDK.S3.

using Amazon.S3;

using var s3 = new AmazonS3Client(new AmazonS3Config { ForcePathStyle = true });
using var found = await s3.GetObjectAsync(args[0], args[1]);
using var text = new StreamReader(found.ResponseStream);
Console.WriteLine(await text.ReadToEndAsync());
