package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	own "github.com/slipway-io/slipway/mirror/registry"
)

// serveEnv makes this program our own registry: directory=address.
const serveEnv = "SLIPWAY_BENCH_SERVE"

// serveOwn runs our registry for everybody, and logs what it is asked like distribution does.
func serveOwn(ctx context.Context, what string) error {
	dir, address, _ := strings.Cut(what, "=")
	store, err := own.Open(own.Config{Dir: dir})
	if err != nil {
		return err
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("bench"), bcrypt.MinCost)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	store.Allow(own.Access{Anonymous: true, Users: []own.User{{Name: "bench", Hash: hash, Push: []string{"*"}}}})
	handler := store.Handler()
	var mu sync.Mutex
	server := &http.Server{Addr: address, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		fmt.Fprintf(os.Stdout, "\"%s %s HTTP\"\n", r.Method, r.URL.Path)
		mu.Unlock()
		r.SetBasicAuth("bench", "bench")
		handler.ServeHTTP(w, r)
	})}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // the process ends with it
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return errors.Join(err, store.Close())
	}
	return store.Close()
}
