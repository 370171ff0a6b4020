// Command demo shows that a pod runs: it says where it is on its output and over HTTP.
//
//	demo              greet on standard output every 10 s and serve HTTP on :8080
//	demo echo WORD…   print the words and where this ran; for kubectl exec, as the image has no shell
//	demo get URL      print what the URL answers; for checks from pod to pod
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const (
	address  = ":8080"
	interval = 10 * time.Second
	maxBody  = 1 << 20
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 0:
		return serve(ctx)
	case args[0] == "echo":
		fmt.Printf("%s (%s)\n", strings.Join(args[1:], " "), place())
		return nil
	case args[0] == "get" && len(args) == 2:
		return get(ctx, args[1])
	}
	return fmt.Errorf("unknown arguments %q: want none, echo WORD… or get URL", args)
}

func serve(ctx context.Context) error {
	server := &http.Server{
		Addr:              address,
		ReadHeaderTimeout: 5 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "hello from %s\n", place())
		}),
	}
	served := make(chan error, 1)
	go func() { served <- server.ListenAndServe() }()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		fmt.Printf("hello from %s\n", place())
		select {
		case err := <-served:
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			return fmt.Errorf("serve %s: %w", address, err)
		case <-ctx.Done():
			return server.Close()
		case <-tick.C:
		}
	}
}

func get(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, interval)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("get %s: %w", url, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("get %s: %w", url, err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(os.Stdout, io.LimitReader(resp.Body, maxBody)); err != nil {
		return fmt.Errorf("read %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s: %s", url, resp.Status)
	}
	return nil
}

// place is <node>/<pod>, as the pod's downward API tells it.
func place() string {
	pod := os.Getenv("POD_NAME")
	if pod == "" {
		pod, _ = os.Hostname()
	}
	if node := os.Getenv("NODE_NAME"); node != "" {
		return node + "/" + pod
	}
	return pod
}
