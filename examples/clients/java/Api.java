// The per-request way: an API that reads and writes documents with the role of the user who asks.
//
//     BROKER=http://127.0.0.1:2870 BUCKET=documents java -cp … Api PORT
//
// GET and PUT /documents/KEY with `Authorization: <ID token>`. The broker answers from its cache, so it is asked at every
// request: whose token has expired, or who lost a group, is refused by the next one. One S3 client serves all users; the
// credentials go with the single operation. Needs software.amazon.awssdk:s3 and com.fasterxml.jackson.core:jackson-databind.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;
import java.util.concurrent.Executors;
import software.amazon.awssdk.auth.credentials.AnonymousCredentialsProvider;
import software.amazon.awssdk.auth.credentials.AwsCredentialsProvider;
import software.amazon.awssdk.auth.credentials.AwsSessionCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.core.exception.SdkServiceException;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.services.s3.S3Client;

public final class Api {
    private static final String BROKER = System.getenv("BROKER") + "/v1/credentials";
    private static final String BUCKET = System.getenv("BUCKET");
    private static final HttpClient HTTP = HttpClient.newHttpClient();
    private static final ObjectMapper JSON = new ObjectMapper();
    // No identity of the service's own: what has no user's credentials is not signed at all.
    private static final S3Client S3 =
        S3Client.builder().credentialsProvider(AnonymousCredentialsProvider.create()).forcePathStyle(true).build();

    /** What ends a request early: the broker's own answer. */
    private static final class Refused extends Exception {
        final int status;

        Refused(int status, String body) {
            super(body);
            this.status = status;
        }
    }

    /** The credentials of the user whose token this is. */
    private static AwsCredentialsProvider user(String token) throws IOException, InterruptedException, Refused {
        HttpRequest request = HttpRequest.newBuilder(URI.create(BROKER))
            .timeout(Duration.ofSeconds(5)).header("Authorization", token == null ? "" : token).build();
        var answer = HTTP.send(request, BodyHandlers.ofString());
        if (answer.statusCode() != 200) {
            throw new Refused(answer.statusCode(), answer.body());
        }
        JsonNode held = JSON.readTree(answer.body());
        return StaticCredentialsProvider.create(AwsSessionCredentials.create(
            held.get("AccessKeyId").asText(), held.get("SecretAccessKey").asText(), held.get("Token").asText()));
    }

    private static byte[] document(HttpExchange exchange) throws IOException, InterruptedException, Refused {
        AwsCredentialsProvider user = user(exchange.getRequestHeaders().getFirst("Authorization"));
        String key = exchange.getRequestURI().getPath().replaceFirst("^/documents/", "");
        if (exchange.getRequestMethod().equals("GET")) {
            return S3.getObjectAsBytes(
                get -> get.bucket(BUCKET).key(key).overrideConfiguration(as -> as.credentialsProvider(user))).asByteArray();
        }
        byte[] body = exchange.getRequestBody().readAllBytes();
        S3.putObject(
            put -> put.bucket(BUCKET).key(key).overrideConfiguration(as -> as.credentialsProvider(user)),
            RequestBody.fromBytes(body));
        return "written".getBytes();
    }

    private static void answer(HttpExchange exchange) throws IOException {
        int status = 200;
        byte[] body;
        try (exchange) {
            try {
                body = document(exchange);
            } catch (Refused refused) {
                status = refused.status;
                body = refused.getMessage().getBytes();
            } catch (SdkServiceException refused) {
                status = refused.statusCode();
                body = refused.getMessage().getBytes();
            } catch (InterruptedException interrupted) {
                status = 503;
                body = "ending".getBytes();
            }
            exchange.sendResponseHeaders(status, body.length == 0 ? -1 : body.length);
            exchange.getResponseBody().write(body);
        }
    }

    public static void main(String[] arguments) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])), 0);
        server.setExecutor(Executors.newFixedThreadPool(16));
        server.createContext("/documents/", Api::answer);
        server.start();
        System.out.println("listening on " + server.getAddress());
    }
}
