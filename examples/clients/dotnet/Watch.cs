// The gRPC way: credentials now, and each renewal, for as long as the token is good.
//
//     dotnet run http://127.0.0.1:2871 TOKEN_FILE
//
// A watch suits a job that outlives a request: the newest credentials are always at hand, and nobody polls. Packages:
// Grpc.Net.Client, Google.Protobuf and Grpc.Tools, with <Protobuf Include="cupbearer/v1/broker.proto" ProtoRoot="proto" />.

using Cupbearer.V1;
using Grpc.Core;
using Grpc.Net.Client;

var token = (await File.ReadAllTextAsync(args[1])).Trim();
// No proxy of the environment may see a user's token.
var handler = new SocketsHttpHandler { UseProxy = false };
using var channel = GrpcChannel.ForAddress(args[0], new GrpcChannelOptions { HttpHandler = handler });
var metadata = new Metadata { { "authorization", $"Bearer {token}" } };
using var watch = new CredentialBroker.CredentialBrokerClient(channel).WatchCredentials(new WatchCredentialsRequest(), metadata);
// It ends with UNAUTHENTICATED when the token has expired: watch again with a newer one.
await foreach (var message in watch.ResponseStream.ReadAllAsync())
{
    var held = message.Credentials;
    Console.WriteLine($"{held.AccessKeyId} until {held.Expiration}, new token by {message.PresentTokenBy}");
}
