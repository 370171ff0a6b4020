package web

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// loaders is a directory with a file, and ways out of it.
func loaders(t *testing.T, content []byte) *os.Root {
	t.Helper()
	base := t.TempDir()
	dir := filepath.Join(base, "loaders")
	if err := os.MkdirAll(filepath.Join(dir, "grub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"secret": []byte("secret"), "loaders/snponly.efi": content} {
		if err := os.WriteFile(filepath.Join(base, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for to, at := range map[string]string{"../secret": "out", "/etc/passwd": "passwd"} {
		if err := os.Symlink(to, filepath.Join(dir, at)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

func (s *site) bases() []string {
	var all []string
	for i := range 2 {
		all = append(all, "http://"+s.plain[i].String(), "https://"+s.https[i].String())
	}
	return all
}

// request is do with header fields, in pairs.
func (s *site) request(t *testing.T, method, url string, fields ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, got
}

func TestRanges(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 2*chunk/16+7)
	size := len(content)
	s := serve(t, Config{}, Route{Pattern: "GET /loaders/", Plain: true, Handler: http.StripPrefix("/loaders", NewFiles(loaders(t, content)))})
	first, _ := s.request(t, "HEAD", s.bases()[0]+"/loaders/snponly.efi")
	tag, modified := first.Header.Get("ETag"), first.Header.Get("Last-Modified")
	if !strings.HasPrefix(tag, `"`) || modified == "" {
		t.Fatalf("headers %v", first.Header)
	}
	for name, c := range map[string]struct {
		method string
		fields []string
		status int
		want   []byte
		ranged string
	}{
		"whole":                       {"GET", nil, 200, content, ""},
		"HEAD":                        {"HEAD", nil, 200, nil, ""},
		"HEAD of a range":             {"HEAD", []string{"Range", "bytes=1-2"}, 206, nil, "bytes 1-2/SIZE"},
		"first byte":                  {"GET", []string{"Range", "bytes=0-0"}, 206, content[:1], "bytes 0-0/SIZE"},
		"middle":                      {"GET", []string{"Range", "bytes=5-2000000"}, 206, content[5:2000001], "bytes 5-2000000/SIZE"},
		"to the end":                  {"GET", []string{"Range", "bytes=2000000-"}, 206, content[2000000:], fmt.Sprintf("bytes 2000000-%d/SIZE", size-1)},
		"suffix":                      {"GET", []string{"Range", "bytes=-7"}, 206, content[size-7:], fmt.Sprintf("bytes %d-%d/SIZE", size-7, size-1)},
		"suffix of more than all":     {"GET", []string{"Range", "bytes=-99999999"}, 206, content, fmt.Sprintf("bytes 0-%d/SIZE", size-1)},
		"beyond the end is cut":       {"GET", []string{"Range", "bytes=10-99999999"}, 206, content[10:], fmt.Sprintf("bytes 10-%d/SIZE", size-1)},
		"starts beyond the end":       {"GET", []string{"Range", "bytes=99999999-"}, 416, nil, "bytes */SIZE"},
		"If-Range, same":              {"GET", []string{"Range", "bytes=4-7", "If-Range", tag}, 206, content[4:8], "bytes 4-7/SIZE"},
		"If-Range, other":             {"GET", []string{"Range", "bytes=4-7", "If-Range", `"other"`}, 200, content, ""},
		"If-Range, weak":              {"GET", []string{"Range", "bytes=4-7", "If-Range", "W/" + tag}, 200, content, ""},
		"If-Range, time":              {"GET", []string{"Range", "bytes=4-7", "If-Range", modified}, 206, content[4:8], "bytes 4-7/SIZE"},
		"If-None-Match":               {"GET", []string{"If-None-Match", tag}, 304, nil, ""},
		"If-None-Match, other":        {"GET", []string{"If-None-Match", `"other"`}, 200, content, ""},
		"If-Match, other":             {"GET", []string{"If-Match", `"other"`}, 412, nil, ""},
		"If-Modified-Since":           {"GET", []string{"If-Modified-Since", modified}, 304, nil, ""},
		"ranges that are more than 1": {"GET", []string{"Range", "bytes=0-9999999,0-9999999"}, 200, content, ""},
	} {
		for _, base := range s.bases() {
			resp, got := s.request(t, c.method, base+"/loaders/snponly.efi", c.fields...)
			if resp.StatusCode != c.status || (c.want != nil && !bytes.Equal(got, c.want)) || resp.Header.Get("Content-Range") != strings.ReplaceAll(c.ranged, "SIZE", strconv.Itoa(size)) {
				t.Errorf("%s from %s: %d with %d bytes, %v", name, base, resp.StatusCode, len(got), resp.Header)
			}
			if length := resp.Header.Get("Content-Length"); c.method == "GET" && c.status < 300 && length != strconv.Itoa(len(c.want)) {
				t.Errorf("%s from %s: Content-Length %q", name, base, length)
			}
			if c.status < 300 && (resp.Header.Get("Accept-Ranges") != "bytes" || resp.Header.Get("ETag") != tag) {
				t.Errorf("%s from %s: %v", name, base, resp.Header)
			}
		}
	}
}

func TestSeveralRanges(t *testing.T) {
	content := []byte("0123456789abcdef")
	s := serve(t, Config{}, Route{Pattern: "GET /", Plain: true, Handler: NewFiles(loaders(t, content))})
	for _, base := range s.bases() {
		resp, got := s.request(t, "GET", base+"/snponly.efi", "Range", "bytes=0-1,4-5,-2")
		kind, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
		if err != nil || kind != "multipart/byteranges" || resp.StatusCode != 206 || resp.ContentLength != int64(len(got)) {
			t.Fatalf("%d %v, %v", resp.StatusCode, resp.Header, err)
		}
		parts := multipart.NewReader(bytes.NewReader(got), params["boundary"])
		for _, want := range []string{"bytes 0-1/16 01", "bytes 4-5/16 45", "bytes 14-15/16 ef"} {
			part, err := parts.NextPart()
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(part)
			if given := part.Header.Get("Content-Range") + " " + string(body); err != nil || given != want {
				t.Errorf("part %q, %v; want %q", given, err, want)
			}
		}
	}
}

func TestFilesLeadNowhereElse(t *testing.T) {
	s := serve(t, Config{}, Route{Pattern: "GET /loaders/", Plain: true, Handler: http.StripPrefix("/loaders", NewFiles(loaders(t, []byte("x"))))})
	for path, status := range map[string]int{
		"/loaders/none": 404, "/loaders/out": 403, "/loaders/passwd": 403, "/loaders/": 403, "/loaders/grub": 403, "/loaders/grub/": 403,
		"/loaders/%2e%2e%2fsecret": 403, "/loaders/a%00b": 403,
	} {
		resp, got := s.request(t, "GET", s.bases()[0]+path)
		if resp.StatusCode != status || strings.Contains(string(got), "secret") || strings.Contains(string(got), "root:") {
			t.Errorf("%s: %d %s, want %d", path, resp.StatusCode, got, status)
		}
	}
}

// A file that is replaced has another tag.
func TestTagsFollowContent(t *testing.T) {
	root := loaders(t, []byte("one"))
	s := serve(t, Config{}, Route{Pattern: "GET /", Plain: true, Handler: NewFiles(root)})
	before, _ := s.request(t, "GET", s.bases()[0]+"/snponly.efi")
	file := filepath.Join(root.Name(), "snponly.efi")
	if err := os.WriteFile(file, []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, time.Now(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	after, _ := s.request(t, "GET", s.bases()[0]+"/snponly.efi")
	if before.Header.Get("ETag") == after.Header.Get("ETag") {
		t.Errorf("tag %s stays", after.Header.Get("ETag"))
	}
}

// Answers tell their length even when their handlers do not, so far as they can wait for it.
func TestLengthIsTold(t *testing.T) {
	text := func(n int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for range n / 100 {
				_, _ = io.WriteString(w, strings.Repeat("x", 100))
			}
		})
	}
	s := serve(t, Config{},
		Route{Pattern: "GET /small", Plain: true, Handler: text(500)}, Route{Pattern: "GET /script", Plain: true, Handler: text(60_000)},
		Route{Pattern: "GET /endless", Plain: true, Handler: text(200_000)},
		Route{Pattern: "GET /nothing", Plain: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })},
		Route{Pattern: "GET /flushed", Plain: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "a")
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, "b")
		})},
		Route{Pattern: "GET /late", Plain: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half")
			panic("boom")
		})})
	for path, want := range map[string]struct {
		status int
		told   int64
		length int
	}{"/small": {200, 500, 500}, "/script": {200, 60_000, 60_000}, "/endless": {200, -1, 200_000}, "/nothing": {202, 0, 0}, "/flushed": {200, -1, 2}, "/late": {500, 0, 0}, "/healthz": {200, 3, 3}} {
		for _, base := range s.bases() {
			resp, got := s.request(t, "GET", base+path)
			if want.status == 500 {
				want.told, want.length = int64(len(got)), len(got)
			}
			if resp.StatusCode != want.status || resp.ContentLength != want.told || len(got) != want.length || strings.Contains(string(got), "half") {
				t.Errorf("%s: %d, length %d, %d bytes; want %+v", path, resp.StatusCode, resp.ContentLength, len(got), want)
			}
			if head, _ := s.request(t, "HEAD", base+path); want.status == 200 && want.told >= 0 && head.ContentLength != want.told {
				t.Errorf("HEAD %s: length %d", path, head.ContentLength)
			}
		}
	}
}

// taker is a response that takes readers, as net/http's does: it notes what it is given.
type taker struct {
	*httptest.ResponseRecorder
	given []io.Reader
}

func (t *taker) ReadFrom(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	if ok {
		t.given = append(t.given, limited.R)
	}
	return io.Copy(t.ResponseRecorder, r)
}

// net/http hands a file to the kernel when it gets an *os.File within one io.LimitedReader, and nothing else.
func TestFilesReachTheKernel(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 2*chunk/16+7)
	out := &taker{ResponseRecorder: httptest.NewRecorder()}
	s, err := New(Config{Log: discard()}, []Route{{Pattern: "GET /", Plain: true, Handler: NewFiles(loaders(t, content))}})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/snponly.efi", nil)
	s.plain.ServeHTTP(out, r)
	if len(out.given) != 3 || !bytes.Equal(out.Body.Bytes(), content) {
		t.Fatalf("%d readers, %d bytes", len(out.given), out.Body.Len())
	}
	for _, given := range out.given {
		if _, ok := given.(*os.File); !ok {
			t.Errorf("got a %T", given)
		}
	}
}
