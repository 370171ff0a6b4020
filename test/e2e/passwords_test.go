//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-io/slipway/test/site"
)

// needles are the passwords of the BMCs, plain, as a Secret has them in JSON and as a basic login has them.
func needles(r *site.Rehearsal) (all [][]byte) {
	for _, machine := range r.Machines {
		password := machine.BMC.Password()
		all = append(all, []byte(password), []byte(base64.StdEncoding.EncodeToString([]byte(password))),
			[]byte(base64.StdEncoding.EncodeToString([]byte(site.BMCUser+":"+password))))
	}
	return all
}

// checkBMCPasswords searches everything that the appliance says and keeps; first for what was put there to be found.
func checkBMCPasswords(t *testing.T, ctx context.Context, r *site.Rehearsal) {
	events, err := r.BMCEvents(ctx)
	must(t, err)
	if len(events) == 0 {
		t.Error("no Events of BareMetalHosts")
	}
	for _, event := range events {
		t.Logf("%s %s: %s", event.InvolvedObject.Name, event.Reason, event.Message)
	}
	s := search{T: t, r: r, needles: append(needles(r), []byte(bait))}
	planted := s.plant(ctx)
	found := s.everywhere(ctx)
	for what, where := range planted {
		if !slices.ContainsFunc(found, func(at string) bool { return strings.HasPrefix(at, where) }) {
			t.Errorf("the search misses a planted %s at %s: it finds %v", what, where, found)
		}
	}
	s.unplant(ctx)
	s.needles = needles(r) // what was in a ConfigMap stays in etcd's history
	for _, at := range s.everywhere(ctx) {
		t.Errorf("a password of a BMC stands in %s", at)
	}
	t.Logf("searched %d files of %d MiB, %d processes, %d KiB of objects, %d KiB of metrics for %d texts",
		s.files, s.bytes>>20, s.processes, s.objects>>10, s.metrics>>10, len(s.needles))
}

// bait is what is planted in an object, which is no Secret and therefore in clear in etcd.
const bait = "no-password-but-to-be-found"

// search for texts, and how much was searched the last time.
type search struct {
	*testing.T
	r       *site.Rehearsal
	needles [][]byte
	bait    *exec.Cmd

	files, processes        int
	bytes, objects, metrics int64
}

func (s *search) baitFile() string { return filepath.Join(s.r.StateDir(), "planted") }

func (s *search) baitObject() *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "planted"}, Data: map[string]string{"at": bait}}
}

// plant what is to be found: at the end of a large file, in an object, in a process's environment.
func (s *search) plant(ctx context.Context) map[string]string {
	s.Helper()
	must(s.T, os.WriteFile(s.baitFile(), append(bytes.Repeat([]byte("x"), 3<<20-5), s.needles[1]...), 0o600))
	must(s.T, s.r.Management.Create(ctx, s.baitObject()))
	s.bait = exec.CommandContext(ctx, "sleep", "600")
	s.bait.Env = []string{"PLANTED=" + string(s.needles[2])}
	must(s.T, s.bait.Start())
	return map[string]string{"file": s.baitFile(), "object": "objects", "process": fmt.Sprintf("/proc/%d/environ", s.bait.Process.Pid)}
}

func (s *search) unplant(ctx context.Context) {
	s.Helper()
	must(s.T, os.Remove(s.baitFile()))
	must(s.T, s.r.Management.Delete(ctx, s.baitObject()))
	must(s.T, s.bait.Process.Kill())
	_ = s.bait.Wait() // it was killed
}

// everywhere: logs and consoles, the state directory, all objects but Secrets, metrics, processes. It names where something was found.
func (s *search) everywhere(ctx context.Context) (found []string) {
	s.Helper()
	s.files, s.bytes, s.processes = 0, 0, 0
	look := func(where string, from io.Reader) (read int64) {
		has, read, err := s.in(from)
		if err != nil && !errors.Is(err, syscall.ESRCH) { // the process has just ended
			s.Errorf("read %s: %v", where, err)
		}
		if has {
			found = append(found, where)
		}
		return read
	}
	must(s.T, filepath.WalkDir(s.r.Dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !entry.Type().IsRegular() || !strings.HasPrefix(path, s.r.StateDir()) && !strings.HasSuffix(path, ".log") {
			return err
		}
		s.files++
		return s.open(path, func(file io.Reader) { s.bytes += look(path, file) })
	}))
	processes, err := filepath.Glob("/proc/[0-9]*")
	must(s.T, err)
	for _, process := range processes {
		s.processes++
		for _, name := range []string{"cmdline", "environ"} {
			must(s.T, s.open(filepath.Join(process, name), func(file io.Reader) { look(filepath.Join(process, name), file) }))
		}
	}
	s.objects = look("objects", bytes.NewReader(s.allObjects(ctx)))
	s.metrics = look("metrics", bytes.NewReader(s.allMetrics(ctx)))
	return found
}

// open a file that may have gone.
func (s *search) open(path string, use func(io.Reader)) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	use(file)
	return nil
}

// in a stream, piece by piece; the end of one is kept before the next.
func (s *search) in(from io.Reader) (found bool, read int64, err error) {
	longest := 0
	for _, needle := range s.needles {
		longest = max(longest, len(needle))
	}
	window, kept := make([]byte, longest+1<<20), 0
	for {
		n, err := from.Read(window[kept:])
		read += int64(n)
		for _, needle := range s.needles {
			found = found || bytes.Contains(window[:kept+n], needle)
		}
		end := kept + n
		kept = copy(window, window[max(0, end-longest):end])
		if errors.Is(err, io.EOF) || found {
			return found, read, nil
		}
		if err != nil {
			return false, read, err
		}
	}
}

// allObjects of all kinds but Secrets, as the release's kubectl shows them.
func (s *search) allObjects(ctx context.Context) []byte {
	s.Helper()
	kubectl, err := s.r.Kubectl(ctx)
	must(s.T, err)
	names, err := exec.CommandContext(ctx, kubectl, "--kubeconfig", s.r.Kubeconfig(), "api-resources", "--verbs=list", "-o", "name").Output()
	must(s.T, err)
	kinds := slices.DeleteFunc(strings.Fields(string(names)), func(kind string) bool { return kind == "secrets" })
	objects, err := exec.CommandContext(ctx, kubectl, "--kubeconfig", s.r.Kubeconfig(), "get", strings.Join(kinds, ","), "-A", "-o", "json").Output()
	must(s.T, err)
	if !bytes.Contains(objects, []byte(`"kind": "BareMetalHost"`)) {
		s.Error("the objects have no BareMetalHost: not all were read")
	}
	return objects
}

func (s *search) allMetrics(ctx context.Context) []byte {
	s.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+site.Addresses()[0].Addr().String()+":8080/metrics", nil)
	must(s.T, err)
	answer, err := http.DefaultClient.Do(request)
	must(s.T, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(s.T, err)
	if !bytes.Contains(text, []byte("slipway_")) {
		s.Errorf("no metrics of the appliance: %d, %.200s", answer.StatusCode, text)
	}
	return text
}
