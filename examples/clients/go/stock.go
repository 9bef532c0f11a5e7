// The container-credentials way: a program with a stock AWS SDK, and no line about cupbearer.
//
//	export AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:2870/v1/credentials
//	export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=/run/app/user.jwt
//	go run stock.go BUCKET KEY
//
// The SDK asks the broker by itself, and again before the credentials expire. aws-sdk-go-v2 reads the token file since
// 2023; older ones know AWS_CONTAINER_AUTHORIZATION_TOKEN alone, which cannot rotate.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

func main() {
	ctx := context.Background()
	settings, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		log.Fatal(err)
	}
	// Newer versions read this variable themselves; it is for services in AWS's place.
	if url := os.Getenv("AWS_ENDPOINT_URL"); url != "" {
		resolve := func(string, string, ...any) (aws.Endpoint, error) { return aws.Endpoint{URL: url}, nil }
		settings.EndpointResolverWithOptions = aws.EndpointResolverWithOptionsFunc(resolve)
	}
	caller, err := sts.NewFromConfig(settings).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(*caller.Arn)
	client := s3.NewFromConfig(settings, func(options *s3.Options) { options.UsePathStyle = true })
	found, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(os.Args[1]), Key: aws.String(os.Args[2])})
	if err != nil {
		log.Fatal(err)
	}
	defer found.Body.Close()
	if _, err := io.Copy(os.Stdout, found.Body); err != nil {
		log.Fatal(err)
	}
	fmt.Println()
}
