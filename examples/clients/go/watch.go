// The gRPC way: credentials now, and each renewal, for as long as the token is good.
//
//	protoc -I proto --go_out=. --go-grpc_out=. \
//	    --go_opt=Mcupbearer/v1/broker.proto=example/broker --go-grpc_opt=Mcupbearer/v1/broker.proto=example/broker \
//	    cupbearer/v1/broker.proto
//	go run watch.go 127.0.0.1:2871 TOKEN_FILE
//
// A watch suits a job that outlives a request: the newest credentials are always at hand, and nobody polls.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"

	"example/broker"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

func main() {
	token, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	connection, err := grpc.Dial(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	asUser := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+strings.TrimSpace(string(token)))
	watch, err := broker.NewCredentialBrokerClient(connection).WatchCredentials(asUser, &broker.WatchCredentialsRequest{})
	if err != nil {
		log.Fatal(err)
	}
	for {
		message, err := watch.Recv()
		if err != nil {
			// Unauthenticated: the token has expired. Watch again with a newer one.
			log.Fatal(err)
		}
		held := message.Credentials
		fmt.Println(held.AccessKeyId, "until", held.Expiration.AsTime(), "new token by", message.PresentTokenBy.AsTime())
	}
}
