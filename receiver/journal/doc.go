// Package journal keeps batches on disk until they are delivered. It is made of streams of NATS JetStream, of a server in
// this process, of a cluster of such servers, or of one elsewhere.
package journal
