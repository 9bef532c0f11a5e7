// The container-credentials way: a program with a stock AWS SDK, and no line about cupbearer.
//
//     export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:2870/v1/credentials
//     export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=/run/app/user.jwt
//     java -cp … Stock BUCKET KEY
//
// The SDK asks the broker by itself, and again before the credentials expire. Do not set
// AWS_CONTAINER_AUTHORIZATION_TOKEN beside it: the Java SDK takes that one first, and it cannot rotate. Needs
// software.amazon.awssdk:s3.

import software.amazon.awssdk.services.s3.S3Client;

public final class Stock {
    public static void main(String[] arguments) {
        try (S3Client s3 = S3Client.builder().forcePathStyle(true).build()) {
            System.out.println(s3.getObjectAsBytes(get -> get.bucket(arguments[0]).key(arguments[1])).asUtf8String());
        }
    }
}
