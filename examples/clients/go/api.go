// The per-request way: an API that reads and writes documents with the role of the user who asks.
//
//	BROKER=http://127.0.0.1:2870 BUCKET=documents go run api.go PORT
//
// GET and PUT /documents/KEY with `Authorization: <ID token>`. The broker answers from its cache, so it is asked at every
// request: whose token has expired, or who lost a group, is refused by the next one. One S3 client serves all users; the
// credentials go with the single operation.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

// refused is the broker's own answer, for the user.
type refused struct {
	status int
	body   string
}

func (r refused) Error() string { return r.body }

// user provides the credentials of the user whose token it is.
type user string

// No proxy of the environment may see a user's token.
var broker = http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{Proxy: nil}}

func (token user) Retrieve(ctx context.Context) (aws.Credentials, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, os.Getenv("BROKER")+"/v1/credentials", nil)
	if err != nil {
		return aws.Credentials{}, err
	}
	request.Header.Set("Authorization", string(token))
	answer, err := broker.Do(request)
	if err != nil {
		return aws.Credentials{}, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return aws.Credentials{}, err
	}
	if answer.StatusCode != http.StatusOK {
		return aws.Credentials{}, refused{answer.StatusCode, string(body)}
	}
	var held struct {
		AccessKeyId, SecretAccessKey, Token string
		Expiration                          time.Time
	}
	if err := json.Unmarshal(body, &held); err != nil {
		return aws.Credentials{}, err
	}
	return aws.Credentials{
		AccessKeyID: held.AccessKeyId, SecretAccessKey: held.SecretAccessKey, SessionToken: held.Token,
		CanExpire: true, Expires: held.Expiration, Source: "cupbearer",
	}, nil
}

func document(client *s3.Client, request *http.Request) ([]byte, error) {
	asUser := func(options *s3.Options) { options.Credentials = user(request.Header.Get("Authorization")) }
	bucket, key := aws.String(os.Getenv("BUCKET")), aws.String(strings.TrimPrefix(request.URL.Path, "/documents/"))
	if request.Method == http.MethodGet {
		found, err := client.GetObject(request.Context(), &s3.GetObjectInput{Bucket: bucket, Key: key}, asUser)
		if err != nil {
			return nil, err
		}
		defer found.Body.Close()
		return io.ReadAll(found.Body)
	}
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	_, err = client.PutObject(request.Context(), &s3.PutObjectInput{Bucket: bucket, Key: key, Body: bytes.NewReader(body)}, asUser)
	return []byte("written"), err
}

func answer(to http.ResponseWriter, body []byte, err error) {
	var ours refused
	var status *awshttp.ResponseError
	var code smithy.APIError
	switch {
	case err == nil:
		to.Write(body)
	case errors.As(err, &ours):
		http.Error(to, ours.body, ours.status)
	case errors.As(err, &status) && errors.As(err, &code):
		http.Error(to, code.ErrorCode(), status.HTTPStatusCode())
	default:
		http.Error(to, err.Error(), http.StatusBadGateway)
	}
}

func main() {
	options := s3.Options{Region: os.Getenv("AWS_REGION"), UsePathStyle: true}
	if url := os.Getenv("AWS_ENDPOINT_URL"); url != "" {
		options.EndpointResolver = s3.EndpointResolverFromURL(url)
	}
	client := s3.New(options)
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("listening on", listener.Addr())
	http.Serve(listener, http.HandlerFunc(func(to http.ResponseWriter, request *http.Request) {
		body, err := document(client, request)
		answer(to, body, err)
	}))
}
