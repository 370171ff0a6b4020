// Command image measures how a discovery ISO of one gigabyte is read, as BMCs read it and as a whole: the real web front and image
// service, nginx with the plain file in the same breath, and the published figures of the known image service beside them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/slipway-io/slipway/test/bench/peers"
)

const serveFlag = "serve"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	address := flag.String(serveFlag, "", "internal: serve the images of -dir at this address")
	dir := flag.String("dir", "", "internal: directory of the images")
	size := flag.Int64("size", 1000, "size of the ISO in MiB")
	length := flag.Duration("for", 5*time.Second, "length of each measurement")
	flag.Parse()
	if *address != "" {
		at, err := netip.ParseAddrPort(*address)
		if err != nil {
			return err
		}
		return serve(ctx, *dir, at)
	}
	work, err := os.MkdirTemp("", "slipway-bench-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := makeImage(ctx, work, *size<<20); err != nil {
		return err
	}
	slipway, err := startSlipway(ctx, work)
	if err != nil {
		return err
	}
	err = compare(ctx, work, slipway, *length)
	return errors.Join(err, slipway.process.Stop())
}

// side is a server under measurement.
type side struct {
	name          string
	address, path string
	process       *peers.Process
}

func startSlipway(ctx context.Context, work string) (side, error) {
	self, err := os.Executable()
	if err != nil {
		return side{}, err
	}
	at, err := peers.FreePort("tcp", "127.0.0.1")
	if err != nil {
		return side{}, err
	}
	process, err := peers.Start([]string{self, "-" + serveFlag, at.String(), "-dir", work})
	if err != nil {
		return side{}, err
	}
	s := side{"slipway, full", at.String(), isoPath("full"), process}
	return s, s.ready(ctx)
}

func startNginx(ctx context.Context, work string) (side, error) {
	root, err := peers.Unpack(ctx, "nginx", "nginx-common")
	if err != nil {
		return side{}, err
	}
	at, err := peers.FreePort("tcp", "127.0.0.1")
	if err != nil {
		return side{}, err
	}
	config := filepath.Join(work, "nginx.conf")
	text := fmt.Sprintf(`daemon off; pid %[1]s/nginx.pid; error_log stderr warn; worker_processes auto; user root;
events { worker_connections 512; }
http { access_log off; sendfile on; keepalive_requests 1000000000; types { application/x-cd-image iso; }
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  server { listen %[2]s; root %[1]s/os; } }
`, work, at)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return side{}, err
	}
	process, err := peers.Start([]string{filepath.Join(root, "usr/sbin/nginx"), "-c", config}, peers.Libraries(root))
	if err != nil {
		return side{}, err
	}
	s := side{"nginx, plain file", at.String(), "/live.iso", process}
	return s, s.ready(ctx)
}

// ready waits until the server answers.
func (s side) ready(ctx context.Context) error {
	for {
		if err := s.process.Ended(); err != nil {
			return err
		}
		c, err := dial(s.address)
		if err == nil {
			_, err = c.read(s.path, 0, 1)
			return errors.Join(err, c.close())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func compare(ctx context.Context, work string, slipway side, length time.Duration) error {
	nginx, err := startNginx(ctx, work)
	if err != nil {
		return err
	}
	defer nginx.process.Stop()
	minimal := slipway
	minimal.name, minimal.path = "slipway, minimal", isoPath("minimal")
	var results []result
	for _, s := range []side{slipway, minimal, nginx} {
		r, err := measure(ctx, s, length)
		if err != nil {
			return fmt.Errorf("measure %s: %w", s.name, err)
		}
		results = append(results, r)
	}
	fmt.Println("Reading a discovery ISO over loopback (server and reader share this machine's cores)")
	fmt.Printf("%-28s %10s %10s %12s %14s %12s %12s\n", "2 KiB ranges", "p50 ms", "p99 ms", "1 conn /s", "32 conns /s", "first byte", "whole MiB/s")
	for _, r := range results {
		fmt.Printf("%-28s %10.3f %10.3f %12.0f %14.0f %9.2f ms %12.0f\n", r.name, r.p50, r.p99, r.single, r.many, r.first, r.whole)
	}
	fmt.Printf("%-28s %10.1f %10.0f %12d %14d %9s ms %12s  (published, other machine)\n", "known image service, full", 6.2, 12.0, 158, 251, "5-9", "947-1445")
	full, peer := results[0], results[len(results)-1]
	fmt.Printf("ratios to nginx: 32 connections %.2f, one connection %.2f, whole file %.2f; goals: p50 <= 0.4 ms (%s), >= 5000/s (%s), first byte <= 5 ms (%s)\n",
		full.many/peer.many, full.single/peer.single, full.whole/peer.whole, met(full.p50 <= 0.4), met(full.many >= 5000), met(full.first <= 5))
	fmt.Printf("memory of slipway's server after all that: %s\n", rss(slipway))
	return nil
}

func met(ok bool) string {
	if ok {
		return "met"
	}
	return "MISSED"
}

func rss(s side) string {
	usage, err := s.process.Usage()
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d MiB", usage.RSS>>20)
}

func command(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("run %s: %w\n%s", name, err, out)
	}
	return nil
}
