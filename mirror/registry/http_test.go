package registry

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func (s *site) want(t *testing.T, status int, user, method, path, body string, headers ...string) *http.Response {
	t.Helper()
	resp := s.ask(t, user, method, path, body, headers...)
	if resp.StatusCode != status {
		t.Errorf("%s %s as %q: %s %s, want %d", method, path, user, resp.Status, text(t, resp), status)
	}
	return resp
}

func TestBrokenUploadGoesOn(t *testing.T) {
	for _, address := range loopbacks {
		s := newSite(t, address, pushers(t))
		content := strings.Repeat("0123456789", 50_000)
		location := s.want(t, http.StatusAccepted, "pusher", http.MethodPost, "/v2/a/b/blobs/uploads/", "").Header.Get("Location")
		// A client that promises more than it sends is one whose connection broke.
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, "https://"+s.host+location, io.MultiReader(strings.NewReader(content[:200_000]), broken{}))
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = int64(len(content))
		req.SetBasicAuth("pusher", "secret")
		if _, err := s.client.Do(req); err == nil {
			t.Fatal("the broken request was answered")
		}
		s.awaitRange(t, location, "0-199999")
		s.reopen(t) // the registry's process ends as well
		s.awaitRange(t, location, "0-199999")
		s.want(t, http.StatusRequestedRangeNotSatisfiable, "pusher", http.MethodPatch, location, content[300_000:], "Content-Range", "300000-499999")
		s.want(t, http.StatusBadRequest, "pusher", http.MethodPatch, location, content[200_000:], "Content-Range", "nonsense")
		s.want(t, http.StatusBadRequest, "pusher", http.MethodPatch, location, content[200_000:], "Content-Range", "200000-200001")
		d := digestOf(sha256Name, []byte(content))
		s.want(t, http.StatusCreated, "pusher", http.MethodPut, location+"?digest="+d.String(), content[200_000:], "Content-Range", "200000-499999")
		resp := s.want(t, http.StatusPartialContent, "", http.MethodGet, "/v2/a/b/blobs/"+d.String(), "", "Range", "bytes=499990-")
		if got := text(t, resp); got != "0123456789" {
			t.Errorf("range reads %q", got)
		}
		s.want(t, http.StatusNotFound, "pusher", http.MethodGet, location, "")
		s.want(t, http.StatusNotModified, "", http.MethodGet, "/v2/a/b/blobs/"+d.String(), "", "If-None-Match", resp.Header.Get("ETag"))
	}
}

// awaitRange waits for what the kernel still hands over of a broken connection.
func (s *site) awaitRange(t *testing.T, location, want string) {
	t.Helper()
	var got string
	for deadline := time.Now().Add(20 * time.Second); got != want && time.Now().Before(deadline) && !t.Failed(); {
		got = s.want(t, http.StatusNoContent, "pusher", http.MethodGet, location, "").Header.Get("Range")
	}
	if got != want {
		t.Fatalf("the upload has %s, want %s", got, want)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestUploadsBelongToTheirRepository(t *testing.T) {
	s := newSite(t, "127.0.0.1", Access{Users: []User{user(t, "a", "secret", nil, []string{"a/*"}), user(t, "b", "secret", nil, []string{"b/*"})}})
	location := s.want(t, http.StatusAccepted, "a", http.MethodPost, "/v2/a/x/blobs/uploads/", "").Header.Get("Location")
	s.want(t, http.StatusForbidden, "b", http.MethodPatch, location, "x")
	s.want(t, http.StatusNotFound, "b", http.MethodPatch, strings.Replace(location, "/a/x/", "/b/x/", 1), "x")
	d := digestOf(sha256Name, []byte("y"))
	if _, err := s.WriteBlob("b/x", d.String()); err != nil {
		t.Fatal(err)
	}
	s.want(t, http.StatusNotFound, "b", http.MethodDelete, "/v2/b/x/blobs/uploads/sha256-"+d.hex, "") // this process's own is nobody else's
	s.want(t, http.StatusNoContent, "a", http.MethodDelete, location, "")
}

func TestBlobsOfOtherRepositories(t *testing.T) {
	s := newSite(t, "127.0.0.1", Access{Public: []string{"free"}, Users: []User{
		user(t, "all", "secret", []string{"*"}, []string{"*"}),
		user(t, "team", "secret", []string{"public"}, []string{"team/*"}),
	}})
	config, secret, free := s.put(t, "public", []byte("public")), s.put(t, "hidden", []byte("hidden")), s.put(t, "free", []byte("free"))
	s.want(t, http.StatusOK, "team", http.MethodHead, "/v2/team/a/blobs/"+config.String(), "")
	s.want(t, http.StatusNotFound, "team", http.MethodHead, "/v2/team/a/blobs/"+secret.String(), "")
	s.want(t, http.StatusForbidden, "team", http.MethodGet, "/v2/hidden/blobs/"+secret.String(), "")
	for _, mount := range []string{"", "&from=public", "&from=elsewhere"} {
		s.want(t, http.StatusCreated, "team", http.MethodPost, "/v2/team/a/blobs/uploads/?mount="+config.String()+mount, "")
	}
	s.want(t, http.StatusAccepted, "team", http.MethodPost, "/v2/team/a/blobs/uploads/?mount="+secret.String()+"&from=hidden", "")
	s.want(t, http.StatusOK, "all", http.MethodHead, "/v2/somewhere/new/blobs/"+secret.String(), "")
	s.want(t, http.StatusUnauthorized, "", http.MethodHead, "/v2/hidden/blobs/"+secret.String(), "")
	s.want(t, http.StatusOK, "", http.MethodHead, "/v2/free/blobs/"+free.String(), "")
	s.want(t, http.StatusNotFound, "", http.MethodHead, "/v2/free/blobs/"+secret.String(), "")
	// One repository's delete is not another's.
	s.want(t, http.StatusAccepted, "all", http.MethodDelete, "/v2/team/a/blobs/"+config.String(), "")
	s.want(t, http.StatusNotFound, "all", http.MethodHead, "/v2/team/a/blobs/"+config.String(), "")
	s.want(t, http.StatusOK, "all", http.MethodHead, "/v2/public/blobs/"+config.String(), "")
	// A manifest that names the blob brings it back, and to those who may read the manifest's repository.
	raw := manifestOf(secret)
	s.want(t, http.StatusCreated, "all", http.MethodPut, "/v2/public/manifests/v1", string(raw), "Content-Type", ociManifest)
	s.want(t, http.StatusOK, "team", http.MethodHead, "/v2/team/a/blobs/"+secret.String(), "")
}

// TestADigestAloneOpensNothing: who knows the digest of something that he may not read does not get it by pushing a manifest that names it.
func TestADigestAloneOpensNothing(t *testing.T) {
	s := newSite(t, "127.0.0.1", Access{Users: []User{user(t, "owner", "secret", nil, []string{"hidden"}), user(t, "thief", "secret", nil, []string{"team/*"})}})
	early, late := []byte("secret, pushed before"), []byte("secret, pushed afterwards")
	push := func(content []byte) {
		s.want(t, http.StatusCreated, "owner", http.MethodPost, "/v2/hidden/blobs/uploads/?digest="+digestOf(sha256Name, content).String(), string(content))
		s.want(t, http.StatusCreated, "owner", http.MethodPut, "/v2/hidden/manifests/v1", string(manifestOf(digestOf(sha256Name, content))), "Content-Type", ociManifest)
	}
	push(early)
	stolen := manifestOf(digestOf(sha256Name, early), digestOf(sha256Name, late))
	look := func(want int) {
		t.Helper()
		for _, content := range [][]byte{early, late} {
			s.want(t, want, "thief", http.MethodGet, "/v2/team/a/blobs/"+digestOf(sha256Name, content).String(), "")
		}
	}
	for range 2 {
		s.want(t, http.StatusCreated, "thief", http.MethodPut, "/v2/team/a/manifests/v1", string(stolen), "Content-Type", ociManifest)
		push(late)
		look(http.StatusNotFound)
		s.reopen(t)
		look(http.StatusNotFound)
	}
	for _, content := range [][]byte{early, late} { // who has the content himself may bring it
		s.want(t, http.StatusCreated, "thief", http.MethodPost, "/v2/team/a/blobs/uploads/?digest="+digestOf(sha256Name, content).String(), string(content))
	}
	look(http.StatusOK)
	s.clock.Time = s.clock.Add(2 * defaultGrace)
	s.collect(t, 0)
	s.reopen(t)
	look(http.StatusOK)
}

func TestListsHavePages(t *testing.T) {
	s := newSite(t, "127.0.0.1", pushers(t))
	var want []string
	for n := range 7 {
		tag := fmt.Sprintf("v%d", n)
		want = append(want, tag)
		if _, err := s.PutManifest(fmt.Sprintf("r%d/x", n), ociManifest, manifestOf(digestOf(sha256Name, nil)), tag); err != nil {
			t.Fatal(err)
		}
		if _, err := s.PutManifest("a", ociManifest, manifestOf(digestOf(sha256Name, nil)), tag); err != nil {
			t.Fatal(err)
		}
	}
	follow := func(path, key string) (all []string, pages int) {
		for path != "" {
			resp := s.want(t, http.StatusOK, "", http.MethodGet, path, "")
			var list map[string]any
			if err := json.Unmarshal([]byte(text(t, resp)), &list); err != nil {
				t.Fatal(err)
			}
			for _, one := range list[key].([]any) {
				all = append(all, one.(string))
			}
			pages++
			path, _, _ = strings.Cut(strings.TrimPrefix(resp.Header.Get("Link"), "<"), ">")
		}
		return all, pages
	}
	if got, pages := follow("/v2/a/tags/list?n=3", "tags"); !slices.Equal(got, want) || pages != 3 {
		t.Errorf("tags %v on %d pages", got, pages)
	}
	if got, pages := follow("/v2/a/tags/list?n=7", "tags"); !slices.Equal(got, want) || pages != 1 {
		t.Errorf("tags %v on %d pages", got, pages)
	}
	if got, _ := follow("/v2/a/tags/list?n=0", "tags"); len(got) != 0 {
		t.Errorf("tags %v with n=0", got)
	}
	if got, _ := follow("/v2/a/tags/list?last=v4x", "tags"); !slices.Equal(got, want[5:]) {
		t.Errorf("tags %v after v4x", got)
	}
	if got, pages := follow("/v2/_catalog?n=5", "repositories"); len(got) != 8 || got[0] != "a" || pages != 2 {
		t.Errorf("repositories %v on %d pages", got, pages)
	}
	s.want(t, http.StatusBadRequest, "", http.MethodGet, "/v2/a/tags/list?n=-1", "")
	s.want(t, http.StatusNotFound, "", http.MethodGet, "/v2/none/tags/list", "")
}

func TestReferrersHavePagesFiltersAndNotes(t *testing.T) {
	s := newSite(t, "127.0.0.1", pushers(t))
	config := s.put(t, "a", []byte("{}"))
	subject, err := s.PutManifest("a", ociManifest, manifestOf(config), "v1")
	if err != nil {
		t.Fatal(err)
	}
	artifact := func(n int, kind string, annotation int) []byte {
		return fmt.Appendf(nil, `{"schemaVersion":2,"artifactType":%q,"config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":2},`+
			`"layers":[],"subject":{"mediaType":%q,"digest":%q,"size":1},"annotations":{"n":"%d","fill":%q}}`, kind, config, ociManifest, subject, n, strings.Repeat("x", annotation))
	}
	for n := range 6 { // of a megabyte each, so that they do not fit on one page
		resp := s.want(t, http.StatusCreated, "pusher", http.MethodPut, fmt.Sprintf("/v2/a/manifests/s%d", n), string(artifact(n, "x/"+fmt.Sprint(n%2), 1<<20)), "Content-Type", ociManifest)
		if resp.Header.Get("OCI-Subject") != subject {
			t.Errorf("OCI-Subject %q", resp.Header.Get("OCI-Subject"))
		}
	}
	// What a client noted at a registry without the API, and brought along.
	noted := digestOf(sha256Name, []byte("elsewhere"))
	note := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":5,"artifactType":"x/1"}]}`, ociIndex, ociManifest, noted)
	s.want(t, http.StatusCreated, "pusher", http.MethodPut, "/v2/a/manifests/"+strings.Replace(subject, ":", "-", 1), note, "Content-Type", ociIndex)
	count := func(query string) (list []Descriptor, pages int) {
		path := "/v2/a/referrers/" + subject + query
		for path != "" {
			resp := s.want(t, http.StatusOK, "", http.MethodGet, path, "")
			var index struct{ Manifests []Descriptor }
			if err := json.Unmarshal([]byte(text(t, resp)), &index); err != nil {
				t.Fatal(err)
			}
			list, pages = append(list, index.Manifests...), pages+1
			path, _, _ = strings.Cut(strings.TrimPrefix(resp.Header.Get("Link"), "<"), ">")
		}
		return list, pages
	}
	if list, pages := count(""); len(list) != 7 || pages < 2 {
		t.Errorf("%d referrers on %d pages, want 7 on more than one", len(list), pages)
	}
	list, _ := count("?artifactType=" + url.QueryEscape("x/1"))
	if len(list) != 4 || slices.ContainsFunc(list, func(d Descriptor) bool { return d.ArtifactType != "x/1" }) {
		t.Errorf("%d referrers of one type, want 4", len(list))
	}
	if all, err := s.Referrers("a", subject); err != nil || len(all) != 7 {
		t.Errorf("Go API: %d referrers, %v", len(all), err)
	}
	s.want(t, http.StatusOK, "", http.MethodGet, "/v2/none/referrers/"+subject, "")
	s.want(t, http.StatusBadRequest, "", http.MethodGet, "/v2/a/referrers/sha256:00", "")
}

func TestManifestLimits(t *testing.T) {
	s := newSite(t, "127.0.0.1", pushers(t))
	config := fmt.Sprintf(`{"mediaType":"x","digest":%q,"size":1}`, digestOf(sha256Name, nil))
	fill := func(size int) string {
		raw := `{"schemaVersion":2,"config":` + config + `,"layers":[],"annotations":{"fill":""}}`
		return strings.Replace(raw, `"fill":""`, `"fill":"`+strings.Repeat("x", size-len(raw))+`"`, 1)
	}
	s.want(t, http.StatusCreated, "pusher", http.MethodPut, "/v2/a/manifests/v1", fill(maxManifest), "Content-Type", ociManifest)
	s.want(t, http.StatusRequestEntityTooLarge, "pusher", http.MethodPut, "/v2/a/manifests/v1", fill(maxManifest+1), "Content-Type", ociManifest)
	s.want(t, http.StatusBadRequest, "pusher", http.MethodPut, "/v2/a/manifests/"+digestOf(sha512Name, []byte("other")).String(), fill(1000), "Content-Type", ociManifest)
	many := url.Values{"tag": make([]string, maxTags+1)}
	s.want(t, http.StatusBadRequest, "pusher", http.MethodPut, "/v2/a/manifests/"+digestOf(sha256Name, []byte(fill(1000))).String()+"?"+many.Encode(), fill(1000), "Content-Type", ociManifest)
}
