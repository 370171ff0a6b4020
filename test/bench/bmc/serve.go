package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/slipway-io/slipway/services/bmc/scripted"
)

// certificateName is in the certificate of every scripted BMC, beside its address.
const certificateName = "bmc.test"

// endpoint of all BMCs: each has an address of its own and they share a port.
type endpoint struct {
	Port        int
	Certificate string // base64 of DER
}

func (e endpoint) String() string { return fmt.Sprintf("%d,%s", e.Port, e.Certificate) }

// counts over all BMCs: sums, and the most of any one.
type counts struct{ Requests, AtOnce, Sessions, Open int }

// addressOf the BMC with this index, and back.
func addressOf(index int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, 9, byte(index >> 8), byte(index)})
}

func indexOf(address net.Addr) int {
	ip, err := netip.ParseAddrPort(address.String())
	if err != nil || !ip.Addr().Unmap().Is4() {
		return -1
	}
	four := ip.Addr().Unmap().As4()
	return int(four[2])<<8 | int(four[3])
}

func serve(ctx context.Context, l load, in io.Reader, out io.Writer) error {
	certificate, err := scripted.SelfSigned(certificateName)
	if err != nil {
		return err
	}
	profiles := scripted.Profiles()
	bmcs := make([]*scripted.BMC, l.bmcs)
	for i := range bmcs {
		bmcs[i] = scripted.New(profiles[i%len(profiles)], scripted.Options{Seed: uint64(i), MinLatency: l.min, MaxLatency: l.max, Certificate: certificate})
		down := float64(i%1000) < l.faults*1000
		bmcs[i].Fault(func(f *scripted.Faults) { f.Share, f.Down = l.faults, down })
		if down {
			time.AfterFunc(20*time.Second, func() { bmcs[i].Fault(func(f *scripted.Faults) { f.Down = false }) })
		}
	}
	listener, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, ErrorLog: nil, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if index := indexOf(local); index >= 0 && index < len(bmcs) {
			bmcs[index].ServeHTTP(w, r)
		}
	})}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // the process ends with it
	defer stop()
	go answer(in, out, bmcs)
	port := listener.Addr().(*net.TCPAddr).Port
	if err := json.NewEncoder(out).Encode(endpoint{port, base64.StdEncoding.EncodeToString(certificate.Certificate[0])}); err != nil {
		return fmt.Errorf("tell port: %w", err)
	}
	own := &leaves{ca: certificate, made: map[string]*tls.Certificate{}}
	err = server.Serve(tls.NewListener(listener, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: own.forConnection}))
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// answer whoever started it.
func answer(in io.Reader, out io.Writer, bmcs []*scripted.BMC) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var sum counts
		for _, b := range bmcs {
			one := b.Counts()
			sum.Requests += one.Requests
			sum.Open += one.OpenSessions
			sum.AtOnce = max(sum.AtOnce, one.AtOnce)
			sum.Sessions = max(sum.Sessions, one.Sessions)
		}
		if json.NewEncoder(out).Encode(sum) != nil {
			return
		}
	}
}

// child is another process of this program.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

func start(ctx context.Context, args []string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stderr = quiet{os.Stderr}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %v: %w", args, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %v: %w", args, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %v: %w", args, err)
	}
	return &child{cmd, in, json.NewDecoder(out)}, nil
}

// quiet leaves out what the HTTP server says of every connection that ends early.
type quiet struct{ w io.Writer }

func (q quiet) Write(line []byte) (int, error) {
	if strings.Contains(string(line), "http: TLS handshake error") {
		return len(line), nil
	}
	return q.w.Write(line)
}

func (c *child) read(into any) error {
	if err := c.out.Decode(into); err != nil {
		return fmt.Errorf("read from child: %w", err)
	}
	return nil
}

func (c *child) ask(what string, into any) error {
	if _, err := fmt.Fprintln(c.in, what); err != nil {
		return fmt.Errorf("ask child: %w", err)
	}
	return c.read(into)
}

func (c *child) stop() {
	_ = c.cmd.Process.Signal(os.Interrupt) // it may be gone
	_ = c.cmd.Wait()
}
