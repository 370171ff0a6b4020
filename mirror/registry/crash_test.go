package registry

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	crashDir    = "SLIPWAY_TEST_CRASH_DIR"
	crashPushes = 1000
	crashKills  = 6
)

// TestCrashChild is the process that TestKilledWhilePushing kills.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("only TestKilledWhilePushing starts this")
	}
	r, err := Open(Config{Dir: dir, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	r.Allow(pushers(t))
	server := httptest.NewServer(r.Handler())
	fmt.Println("listening", server.URL)
	go func() { // garbage is collected all the while
		for {
			if _, err := r.Collect(t.Context()); err != nil {
				panic(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	select {}
}

// child starts a registry in a process of its own.
func child(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$")
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if url, found := strings.CutPrefix(lines.Text(), "listening "); found {
			return cmd, url
		}
	}
	t.Fatalf("the registry's process said nothing: %v", cmd.Wait())
	return nil, ""
}

// smallImage is the n-th image: a layer that it shares with the tenth part of the others, a config of its own, and the manifest.
func smallImage(n int) (layer, config, manifest []byte) {
	layer = []byte(strings.Repeat(fmt.Sprintf("layer %d ", n/10), 500))
	config = []byte(fmt.Sprintf(`{"n":%d}`, n))
	describe := func(media string, content []byte) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, media, digestOf(sha256Name, content), len(content))
	}
	manifest = fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`, ociManifest,
		describe("application/vnd.oci.image.config.v1+json", config), describe("application/vnd.oci.image.layer.v1.tar", layer))
	return layer, config, manifest
}

func smallPath(n int) string { return fmt.Sprintf("/v2/crash/r%d", n%20) }

// pushSmall returns what the registry has acknowledged in the end: everything or an error.
func pushSmall(url string, n int) error {
	layer, config, manifest := smallImage(n)
	for _, blob := range [][]byte{layer, config} {
		path := smallPath(n) + "/blobs/uploads/?digest=" + digestOf(sha256Name, blob).String()
		if err := send(http.MethodPost, url+path, blob, http.StatusCreated); err != nil {
			return err
		}
	}
	return send(http.MethodPut, url+smallPath(n)+fmt.Sprintf("/manifests/t%d", n), manifest, http.StatusCreated, "Content-Type", ociManifest)
}

func send(method, url string, body []byte, want int, headers ...string) error {
	req, err := http.NewRequest(method, url, strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	req.SetBasicAuth("pusher", "secret")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		return fmt.Errorf("%s %s: %s", method, url, resp.Status)
	}
	return nil
}

// crashRun is pushes that go on while their registry is killed and started again.
type crashRun struct {
	next, acknowledged atomic.Int64
	mu                 sync.RWMutex
	url                string
	acked              sync.Map
}

func (c *crashRun) push() {
	for {
		n := int(c.next.Add(1)) - 1
		if n >= crashPushes {
			return
		}
		for {
			c.mu.RLock()
			url := c.url
			c.mu.RUnlock()
			if pushSmall(url, n) == nil {
				break
			}
			time.Sleep(5 * time.Millisecond) // it was killed, another one comes
		}
		c.acked.Store(n, true)
		c.acknowledged.Add(1)
	}
}

func TestKilledWhilePushing(t *testing.T) {
	if testing.Short() {
		t.Skip("a thousand pushes")
	}
	dir := t.TempDir()
	run := &crashRun{}
	cmd, url := child(t, dir)
	run.url = url
	var group sync.WaitGroup
	for range 8 {
		group.Go(run.push)
	}
	for kill := 1; kill <= crashKills; kill++ {
		for run.acknowledged.Load() < int64(crashPushes*kill/(crashKills+1)) {
			time.Sleep(time.Millisecond)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it says that it was killed
		run.mu.Lock()
		cmd, run.url = child(t, dir)
		run.mu.Unlock()
	}
	group.Wait()
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	r, err := Open(Config{Dir: dir, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for n := range crashPushes {
		checkSmall(t, r, n)
	}
	if left, err := os.ReadDir(dir + "/" + uploadsDir); err != nil || len(left) > 8*crashKills {
		t.Errorf("%d files of broken uploads are left, %v", len(left), err)
	}
}

func checkSmall(t *testing.T, r *Registry, n int) {
	t.Helper()
	layer, config, manifest := smallImage(n)
	got, err := r.Manifest(strings.TrimPrefix(smallPath(n), "/v2/"), fmt.Sprintf("t%d", n))
	if err != nil || string(got.Raw) != string(manifest) {
		t.Fatalf("push %d was acknowledged and is lost: %v", n, err)
	}
	for _, blob := range [][]byte{layer, config} {
		f, size, err := r.OpenBlob(digestOf(sha256Name, blob).String())
		if err != nil || size != int64(len(blob)) {
			t.Fatalf("push %d was acknowledged, its blob is %d bytes: %v", n, size, err)
		}
		raw := make([]byte, size)
		if _, err := f.ReadAt(raw, 0); err != nil || string(raw) != string(blob) {
			t.Fatalf("blob of push %d reads other bytes: %v", n, err)
		}
		f.Close()
	}
}
