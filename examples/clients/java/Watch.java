// The gRPC way: credentials now, and each renewal, for as long as the token is good.
//
//     java -cp … Watch 127.0.0.1:2871 TOKEN_FILE
//
// A watch suits a job that outlives a request: the newest credentials are always at hand, and nobody polls. Needs
// io.grpc:grpc-netty-shaded, grpc-stub and grpc-protobuf, and the classes that protoc with protoc-gen-grpc-java makes of
// proto/cupbearer/v1/broker.proto.

import cupbearer.v1.Broker.WatchCredentialsRequest;
import cupbearer.v1.CredentialBrokerGrpc;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.stub.MetadataUtils;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;

public final class Watch {
    public static void main(String[] arguments) throws Exception {
        var metadata = new Metadata();
        var authorization = Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
        metadata.put(authorization, "Bearer " + Files.readString(Path.of(arguments[1])).strip());
        // No proxy of the environment may see a user's token.
        ManagedChannel channel = Grpc.newChannelBuilder(arguments[0], InsecureChannelCredentials.create())
            .proxyDetector(address -> null).build();
        var broker = CredentialBrokerGrpc.newBlockingStub(channel)
            .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata));
        try {
            // It ends with UNAUTHENTICATED when the token has expired: watch again with a newer one.
            broker.watchCredentials(WatchCredentialsRequest.getDefaultInstance()).forEachRemaining(message -> System.out.printf(
                "%s until %s, new token by %s%n",
                message.getCredentials().getAccessKeyId(),
                Instant.ofEpochSecond(message.getCredentials().getExpiration().getSeconds()),
                Instant.ofEpochSecond(message.getPresentTokenBy().getSeconds())));
        } finally {
            channel.shutdownNow();
        }
    }
}
