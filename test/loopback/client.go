package loopback

import "net/http"

// Client is for requests of tests that run beside others. [net/http/httptest.Server.Close] closes the idle connections of
// [http.DefaultTransport], also of other tests: a POST that is about to use one fails.
var Client = &http.Client{Transport: &http.Transport{}}
