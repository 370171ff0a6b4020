package agentapi_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-io/slipway/services/agentapi/wire"
	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/host"
)

func (s *site) expect(hostID, state string) {
	s.t.Helper()
	if got := s.state(hostID); got != state {
		s.t.Fatalf("state %s, want %s", got, state)
	}
}

func (s *site) code(a answer, want int) {
	s.t.Helper()
	if a.status != want {
		s.t.Fatalf("answered %d %s, want %d", a.status, a.body, want)
	}
}

// discover brings a host into the pool.
func (s *site) discover(env, hostID string) {
	s.t.Helper()
	s.code(s.register(env, hostID), 201)
	steps := s.call("GET", at(env, hostID, "/instructions"), "env:"+env, "").steps(s.t)
	if len(steps.Instructions) != 1 || steps.Instructions[0].Type != "inventory" || steps.Instructions[0].Args[0] != hostID {
		s.t.Fatalf("first steps: %+v", steps)
	}
	s.code(s.call("POST", at(env, hostID, "/instructions"), "env:"+env, reply("inventory", 0, inventory, "noise")), 204)
}

func claim(a *agentv1beta1.Agent) {
	a.Spec.Approved = true
	a.Spec.ClusterDeploymentName = &agentv1beta1.ClusterReference{Namespace: "clusters-demo", Name: "demo"}
	a.Spec.IgnitionEndpointTokenReference = &agentv1beta1.IgnitionEndpointTokenReference{Namespace: "clusters-demo", Name: "token"}
	a.Spec.IgnitionEndpointHTTPHeaders = map[string]string{"NodePool": "clusters/demo"}
}

func TestLife(t *testing.T) {
	s := newSite(t)
	s.discover(envA, host1)
	s.expect(host1, api.StateKnownUnbound)
	if a := s.agents[host1]; a.Namespace != "slipway" || a.Labels[api.InfraEnvLabel] != "a" || a.Labels["size"] != "small" || a.Spec.Approved {
		t.Errorf("Agent as registered: %+v", a.ObjectMeta)
	}
	path, env := at(envA, host1, "/instructions"), "env:"+envA

	// A host on the line learns of its cluster at once.
	waiting := make(chan answer)
	go func() { waiting <- s.call("GET", path, env, "", wire.PreferHeader, "wait=20") }()
	time.Sleep(50 * time.Millisecond)
	changed := time.Now()
	s.user(host1, claim)
	bound := <-waiting
	if took := time.Since(changed); took >= 20*time.Second || bound.steps(t).PostStep != wire.PostStepExit || bound.header.Get(wire.PreferenceApplied) == "" {
		t.Fatalf("after %s: %s", took, bound.body)
	}
	s.expect(host1, api.StateBinding)
	s.discover(envA, host1)
	s.expect(host1, api.StateInstalling)
	steps := s.call("GET", path, env, "").steps(t)
	var install wire.InstallRequest
	if err := json.Unmarshal([]byte(steps.Instructions[0].Args[0]), &install); err != nil || steps.Instructions[0].Type != "install" {
		t.Fatalf("%v: %+v", err, steps)
	}
	if install.BootDevice != "/dev/disk/by-id/d" || install.ImageSHA256 != "aa" || install.Role != "worker" {
		t.Errorf("install: %+v", install)
	}
	s.code(s.call("PUT", at(envA, host1, "/progress"), env, `{"current_stage":"Starting installation","progress_info":"worker"}`), 200)
	s.code(s.call("PUT", at(envA, host1, "/progress"), env, `{"current_stage":"Writing image to disk","progress_info":"40%"}`), 200)
	s.code(s.call("PUT", at(envA, host1, "/progress"), env, `{"current_stage":"Installing"}`), 409)
	for _, plural := range []string{"infra-env", "infra-envs"} {
		ignition := s.call("GET", "/v2/"+plural+"/"+envA+"/hosts/"+host1+"/downloads/ignition", env, "")
		s.code(ignition, 200)
		for _, want := range []string{`"HostToken":"host:` + host1, `"NodeName":"w0"`, `"ProviderID":"agent://` + host1, `"NodePool":"clusters/demo"`} {
			if !strings.Contains(string(ignition.body), want) {
				t.Errorf("ignition lacks %s: %s", want, ignition.body)
			}
		}
	}
	s.code(s.call("PUT", at(envA, host1, "/progress"), env, `{"current_stage":"Rebooting"}`), 200)
	s.code(s.call("POST", path, env, reply("install", 0, "", "")), 204)

	// The disk boots and speaks with its own token, from an address of its own.
	own := "host:" + host1
	if first := s.from("10.7.0.99:5", "GET", at(envA, host1, "/instructions"), own, ""); first.status != 200 || s.stage(host1) != "Configuring" {
		t.Fatalf("first poll of the installed system: %d %s, stage %s", first.status, first.body, s.stage(host1))
	}
	s.node = true
	s.user(host1, func(*agentv1beta1.Agent) {})
	s.expect(host1, api.StateAddedToExistingCluster)
	s.code(s.from("10.7.0.99:5", "GET", path, env, ""), 403)
	s.code(s.from("10.7.0.99:5", "GET", at(envA, host1, "/downloads/ignition"), own, ""), 403)
	s.node = false
	s.user(host1, func(a *agentv1beta1.Agent) { a.Spec.ClusterDeploymentName = nil })
	back := s.from("10.7.0.99:5", "GET", path, own, "").steps(t)
	if back.Instructions[0].Type != "reboot-for-reclaim" || !strings.Contains(back.Instructions[0].Args[0], "/dev/disk/by-id/d") {
		t.Fatalf("reclaim: %+v", back)
	}
	s.code(s.from("10.7.0.99:5", "POST", path, own, reply("reboot-for-reclaim", 0, "", "")), 204)
	s.expect(host1, api.StateReclaimingRebooting)
	s.discover(envA, host1)
	s.expect(host1, api.StateKnownUnbound)
}

// install brings a host to where its disk is written.
func (s *site) install(env, hostID string) {
	s.t.Helper()
	s.discover(env, hostID)
	s.user(hostID, claim)
	s.discover(env, hostID)
	s.call("GET", at(env, hostID, "/instructions"), "env:"+env, "").steps(s.t)
	s.code(s.call("PUT", at(env, hostID, "/progress"), "env:"+env, `{"current_stage":"Writing image to disk"}`), 200)
}

func TestRebootWaitsForTheMedium(t *testing.T) {
	s := newSite(t)
	s.install(envA, host1)
	s.bmc(host.Power{BareMetalHost: "slipway/w0", Medium: true})
	reboot := func() answer {
		return s.call("PUT", at(envA, host1, "/progress"), "env:"+envA, `{"current_stage":"Rebooting"}`)
	}
	for range 2 {
		held := reboot()
		s.code(held, 503)
		if held.header.Get("Retry-After") != "1" || !strings.Contains(string(held.body), "BareMetalHost slipway/w0") {
			t.Errorf("%v %s", held.header, held.body)
		}
	}
	// The disk is written: that is what the BMC waits for.
	if a := s.agents[host1]; !host.Installed(a) || !strings.HasPrefix(a.Status.Progress.ProgressInfo, "waiting for the BMC") ||
		!strings.Contains(a.Status.DebugInfo.StateInfo, "Rebooting, waiting for the BMC") {
		t.Errorf("%+v", a.Status)
	}
	s.bmc(host.Power{BareMetalHost: "slipway/w0"})
	s.code(reboot(), 200)
	if a := s.agents[host1]; a.Status.Progress.ProgressInfo != "" || a.Status.DebugInfo.StateInfo != "Rebooting" {
		t.Errorf("%+v", a.Status)
	}
}

func TestRebootDoesNotWaitForEver(t *testing.T) {
	s := newSite(t)
	s.install(envA, host1)
	s.bmc(host.Power{BareMetalHost: "slipway/w0", Medium: true})
	reboot := func() answer {
		return s.call("PUT", at(envA, host1, "/progress"), "env:"+envA, `{"current_stage":"Rebooting"}`)
	}
	s.code(reboot(), 503)
	s.user(host1, func(a *agentv1beta1.Agent) {
		before := metav1.NewTime(time.Now().Add(-host.MediumPatience))
		a.Status.Progress.StageStartTime = &before
	})
	s.code(reboot(), 200)
}

func TestReclaimIsTheBMCs(t *testing.T) {
	s := newSite(t)
	s.install(envA, host1)
	s.code(s.call("PUT", at(envA, host1, "/progress"), "env:"+envA, `{"current_stage":"Rebooting"}`), 200)
	s.bmc(host.Power{BareMetalHost: "slipway/w0"})
	s.user(host1, func(a *agentv1beta1.Agent) { a.Spec.ClusterDeploymentName = nil })
	s.expect(host1, api.StateReclaiming)
	poll := func() []wire.Step {
		return s.from("10.7.0.99:5", "GET", at(envA, host1, "/instructions"), "host:"+host1, "").steps(t).Instructions
	}
	if steps := poll(); len(steps) != 0 {
		t.Errorf("a host with a BMC is told %+v", steps)
	}
	s.bmc(host.Power{BareMetalHost: "slipway/w0", Problem: "its BMC does not answer"})
	if steps := poll(); len(steps) != 1 || steps[0].Type != "reboot-for-reclaim" {
		t.Errorf("a host whose BMC is of no use is told %+v", steps)
	}
	// The discovery image comes up from another address.
	s.discover(envA, host1)
	s.expect(host1, api.StateKnownUnbound)
}

// TestClean is a declared host's disk, which is wiped before the host is known; it is found while the host is on the line.
func TestClean(t *testing.T) {
	s := newSite(t)
	s.discover(envA, host1)
	var disks []agentv1beta1.HostDisk
	s.user(host1, func(a *agentv1beta1.Agent) { disks, a.Status.Inventory.Disks = a.Status.Inventory.Disks, nil })
	path, env := at(envA, host1, "/instructions"), "env:"+envA
	waiting := make(chan answer)
	go func() { waiting <- s.call("GET", path, env, "", wire.PreferHeader, "wait=20") }()
	time.Sleep(50 * time.Millisecond)
	s.user(host1, func(a *agentv1beta1.Agent) {
		a.Status.Inventory.Disks, a.Annotations = disks, map[string]string{api.CleaningAnnotation: "metadata"}
	})
	s.expect(host1, api.StateDiscoveringUnbound)
	steps := (<-waiting).steps(t)
	var request wire.CleanRequest
	if len(steps.Instructions) != 1 || steps.Instructions[0].Type != "clean-disk" {
		t.Fatalf("steps %+v", steps)
	}
	if err := json.Unmarshal([]byte(steps.Instructions[0].Args[0]), &request); err != nil || request.DiskID != "/dev/disk/by-id/d" || request.Path != "/dev/disk/by-id/d" {
		t.Fatalf("%v: %+v", err, request)
	}
	s.code(s.call("POST", path, env, reply("clean-disk", 1, "", "disk is in use")), 204)
	s.expect(host1, api.StateInsufficientUnbound)
	s.code(s.call("POST", path, env, reply("clean-disk", 0, request.DiskID, "")), 204)
	s.expect(host1, api.StateKnownUnbound)
}

func TestPeer(t *testing.T) {
	s := newSite(t)
	if from, token := s.server.Peer(host1); from.IsValid() || token != "" {
		t.Errorf("%s %s", from, token)
	}
	s.discover(envA, host1)
	s.call("GET", at(envA, host1, "/instructions"), "env:"+envA, "", wire.ApprovalHeader, "join-token")
	if from, token := s.server.Peer(host1); !from.IsLoopback() || token != "join-token" {
		t.Errorf("%s %s", from, token)
	}
	s.call("GET", at(envA, host1, "/instructions"), "env:"+envA, "", wire.ApprovalHeader, strings.Repeat("x", 300))
	if _, token := s.server.Peer(host1); token != "" || strings.Contains(s.log.String(), "join-token") {
		t.Errorf("%s\n%s", token, s.log.String())
	}
}

func TestRefusals(t *testing.T) {
	s := newSite(t)
	s.discover(envA, host1)
	path := at(envA, host1, "/instructions")
	hosts := "/v2/infra-envs/" + envA + "/hosts"
	for _, c := range []struct {
		name, method, path, token, body string
		want                            int
	}{
		{"no token", "GET", path, "", "", 401},
		{"wrong token", "GET", path, "env:x", "", 401},
		{"other InfraEnv's token", "GET", path, "env:" + envB, "", 401},
		{"other InfraEnv's host", "GET", at(envB, host1, "/instructions"), "env:" + envB, "", 403},
		{"register through another InfraEnv", "POST", "/v2/infra-envs/" + envB + "/hosts", "env:" + envB, `{"host_id":"` + host1 + `"}`, 403},
		{"other MAC addresses", "POST", hosts, "env:" + envA, `{"host_id":"` + host1 + `","mac_addresses":["52:54:00:00:00:77"]}`, 409},
		{"other host's token", "GET", path, "host:" + host2, "", 401},
		{"installed token of a live host", "GET", path, "host:" + host1, "", 409},
		{"unknown host", "GET", at(envA, host2, "/instructions"), "env:" + envA, "", 404},
		{"unknown InfraEnv", "POST", "/v2/infra-envs/cccccccc-0000-4000-8000-000000000003/hosts", "env:cccccccc-0000-4000-8000-000000000003", `{}`, 404},
		{"no UUID", "GET", at(envA, "x", "/instructions"), "env:" + envA, "", 400},
		{"bad host id", "POST", hosts, "env:" + envA, `{"host_id":"../x"}`, 400},
		{"bad body", "POST", hosts, "env:" + envA, `{`, 400},
		{"big body", "POST", hosts, "env:" + envA, `"` + strings.Repeat("x", 70<<10) + `"`, 413},
		{"bad inventory", "POST", path, "env:" + envA, reply("inventory", 0, "[]", ""), 400},
		{"other machine's inventory", "POST", path, "env:" + envA, reply("inventory", 0, strings.ReplaceAll(inventory, "00:01", "00:02"), ""), 409},
		{"unknown step", "POST", path, "env:" + envA, reply("dance", 0, "", ""), 400},
		{"polite refusal of a step", "POST", path, "env:" + envA, reply("ntp-synchronizer", -1, "", "failed to find action"), 204},
		{"ignition too early", "GET", at(envA, host1, "/downloads/ignition"), "env:" + envA, "", 409},
		{"progress too early", "PUT", at(envA, host1, "/progress"), "env:" + envA, `{"current_stage":"Installing"}`, 409},
		{"logs", "POST", "/v2/clusters/x/logs?infra_env_id=" + envA + "&host_id=" + host1, "env:" + envA, "tar", 204},
		{"logs of nobody", "POST", "/v2/clusters/x/logs", "env:" + envA, "tar", 401},
		{"logs progress", "PUT", at(envA, host1, "/logs-progress"), "env:" + envA, `{"logs_state":"requested"}`, 204},
		{"not served", "GET", "/v2/clusters", "env:" + envA, "", 501},
		{"other method", "DELETE", at(envA, host1, ""), "env:" + envA, "", 501},
		{"nothing", "GET", "/v3/x", "env:" + envA, "", 404},
	} {
		got := s.call(c.method, c.path, c.token, c.body)
		if got.status != c.want {
			t.Errorf("%s: %d %s, want %d", c.name, got.status, got.body, c.want)
		}
		var problem wire.Problem
		if err := json.Unmarshal(got.body, &problem); got.status >= 400 && (err != nil || problem.Kind != "Error" || problem.Reason == "") {
			t.Errorf("%s: %v, problem %s", c.name, err, got.body)
		}
	}
	s.call("GET", path, "env:x", "")
	if n := strings.Count(s.log.String(), "the token is not that"); n > 4 {
		t.Errorf("a refusal was logged again: %d times\n%s", n, s.log.String())
	}
	s.expect(host1, api.StateKnownUnbound)
}

func TestIdentityBelongsToOneAddress(t *testing.T) {
	s := newSite(t)
	s.discover(envA, host1)
	path, env := at(envA, host1, "/instructions"), "env:"+envA
	before := s.log.Len()
	for range 3 {
		s.code(s.from("[2001:db8::9]:4000", "GET", path, env, ""), 409)
		s.code(s.from("[2001:db8::9]:4000", "POST", "/v2/infra-envs/"+envA+"/hosts", env, `{"host_id":"`+host1+`"}`), 409)
	}
	if n := strings.Count(s.log.String()[before:], "connected from another address"); n != 1 {
		t.Errorf("logged %d times instead of once:\n%s", n, s.log.String()[before:])
	}
	s.expect(host1, api.StateKnownUnbound)
	s.code(s.from("[2001:db8::9]:4000", "POST", "/v2/infra-envs/"+envA+"/hosts", env, `{"host_id":"`+host2+`"}`), 201)
}

func TestWaitingEndsWithTheServer(t *testing.T) {
	s := newSite(t)
	s.discover(envA, host1)
	path, env := at(envA, host1, "/instructions"), "env:"+envA
	s.call("GET", path, env, "")
	started := time.Now()
	if a := s.call("GET", path, env, "", wire.PreferHeader, "wait=1"); time.Since(started) < 900*time.Millisecond || len(a.steps(t).Instructions) != 0 {
		t.Errorf("after %s: %s", time.Since(started), a.body)
	}
	if next := s.call("GET", path, env, "").steps(t).Next; next != 3 {
		t.Errorf("a host that cannot wait comes back in %d s", next)
	}
	if at := s.server.Seen(host1).At; at.Before(started) {
		t.Errorf("last seen at %s", at)
	}
}

func FuzzReply(f *testing.F) {
	f.Add([]byte(reply("inventory", 0, inventory, "")))
	f.Add([]byte(`{"step_type":"install","exit_code":1}`))
	f.Add([]byte(`{"step_type":"inventory","output":"{\"disks\":[null,{}],\"interfaces\":[{}]}"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		s := newSite(t)
		s.code(s.register(envA, host1), 201)
		got := s.from("127.0.0.1:9", "POST", at(envA, host1, "/instructions"), "env:"+envA, string(body))
		switch got.status {
		case 204, 400, 409, 413:
		default:
			t.Errorf("%d %s", got.status, got.body)
		}
		for _, nic := range s.agents[host1].Status.Inventory.Interfaces {
			if nic.IPV4Addresses == nil || nic.IPV6Addresses == nil || nic.Flags == nil {
				t.Errorf("the API takes no null: %+v", nic)
			}
		}
	})
}
