package infraenv_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"github.com/openshift/assisted-service/models"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/controllers/infraenv"
)

type tokens struct{}

func (tokens) InfraEnv(uid string) string { return "t-" + uid }

type images struct{}

func (images) Version(arch, want string) (string, error) {
	if arch != "x86_64" || want != "" && want != "12.7" {
		return "", errors.New("there is no machine OS " + want + " for " + arch)
	}
	return "12.7", nil
}

func (images) ISO(_ context.Context, infraEnv *agentv1beta1.InfraEnv, _, _, _ string) (bool, error) {
	if len(infraEnv.Spec.KernelArguments) > 3 {
		return false, errors.New("kernel arguments have 2000 bytes")
	}
	return infraEnv.Spec.SSHAuthorizedKey != "no ISO", nil
}

const uid = "aaaaaaaa-0000-4000-8000-000000000001"

var name = types.NamespacedName{Namespace: "slipway", Name: "default"}

func infraEnv(change func(*agentv1beta1.InfraEnvSpec)) *agentv1beta1.InfraEnv {
	e := &agentv1beta1.InfraEnv{
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, UID: uid, Generation: 1},
		Spec:       agentv1beta1.InfraEnvSpec{PullSecretRef: &corev1.LocalObjectReference{Name: "pull"}},
	}
	if change != nil {
		change(&e.Spec)
	}
	return e
}

func memory(t *testing.T, objects ...client.Object) client.Client {
	t.Helper()
	scheme, err := api.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&agentv1beta1.InfraEnv{}, &agentv1beta1.Agent{}).WithObjects(objects...).Build()
}

func pullSecret(data string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: "pull"}, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(data)},
	}
}

func reconcile(t *testing.T, c client.Client) *agentv1beta1.InfraEnv {
	t.Helper()
	r := &infraenv.Reconciler{
		Client: c, Tokens: tokens{}, Images: images{},
		URLs: infraenv.URLs{HTTP: "http://[fd00::2]:8080", HTTPS: "https://[fd00::2]:8443"},
	}
	for range 2 {
		if _, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: name}); err != nil {
			t.Fatal(err)
		}
	}
	found := &agentv1beta1.InfraEnv{}
	if err := c.Get(t.Context(), name, found); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		t.Fatal(err)
	}
	return found
}

func TestArtifacts(t *testing.T) {
	status := reconcile(t, memory(t, infraEnv(nil), pullSecret("{}"))).Status
	want := agentv1beta1.BootArtifacts{
		KernelURL:     "http://[fd00::2]:8080/boot-artifacts/kernel?arch=x86_64&version=12.7",
		RootfsURL:     "http://[fd00::2]:8080/boot-artifacts/rootfs?arch=x86_64&version=12.7",
		InitrdURL:     "http://[fd00::2]:8080/images/" + uid + "/pxe-initrd?api_key=t-" + uid + "&arch=x86_64&version=12.7",
		IpxeScriptURL: "http://[fd00::2]:8080/api/assisted-install/v2/infra-envs/" + uid + "/downloads/files?api_key=t-" + uid + "&file_name=ipxe-script",
	}
	if status.BootArtifacts != want {
		t.Errorf("%+v", status.BootArtifacts)
	}
	if status.CreatedTime == nil || status.ISODownloadURL != "http://[fd00::2]:8080/byapikey/"+uid+".t-"+uid+"/12.7/x86_64/minimal.iso" || status.AgentLabelSelector.MatchLabels[api.InfraEnvLabel] != "default" ||
		status.Conditions[0].Reason != agentv1beta1.ImageCreatedReason {
		t.Errorf("%+v", status)
	}
}

func TestProblems(t *testing.T) {
	for problem, c := range map[string]struct {
		change func(*agentv1beta1.InfraEnvSpec)
		secret string
	}{
		"ignitionConfigOverride: unexpected end":                      {func(s *agentv1beta1.InfraEnvSpec) { s.IgnitionConfigOverride = "{" }, "{}"},
		"ignitionConfigOverride: ignition.version":                    {func(s *agentv1beta1.InfraEnvSpec) { s.IgnitionConfigOverride = "{}" }, "{}"},
		"there is no machine OS  for aarch64":                         {func(s *agentv1beta1.InfraEnvSpec) { s.CpuArchitecture = "arm64" }, "{}"},
		"there is no machine OS 9 for x86_64":                         {func(s *agentv1beta1.InfraEnvSpec) { s.OSImageVersion = "9" }, "{}"},
		"pullSecretRef: name a Secret":                                {func(s *agentv1beta1.InfraEnvSpec) { s.PullSecretRef = nil }, "{}"},
		"pullSecretRef: there is no Secret slipway/none":              {func(s *agentv1beta1.InfraEnvSpec) { s.PullSecretRef.Name = "none" }, "{}"},
		"pullSecretRef: key .dockerconfigjson of Secret slipway/pull": {nil, "no"},
		"kernel arguments have 2000 bytes": {func(s *agentv1beta1.InfraEnvSpec) {
			s.KernelArguments = make([]agentv1beta1.KernelArgument, 4)
		}, "{}"},
	} {
		status := reconcile(t, memory(t, infraEnv(c.change), pullSecret(c.secret))).Status
		condition := status.Conditions[0]
		if condition.Reason != agentv1beta1.ImageCreationErrorReason || !strings.Contains(condition.Message, problem) || status.CreatedTime != nil {
			t.Errorf("%s: %s %s", problem, condition.Reason, condition.Message)
		}
	}
}

func TestISOType(t *testing.T) {
	for annotation, want := range map[string]string{"full-iso": "/12.7/x86_64/full.iso", "minimal-iso": "/12.7/x86_64/minimal.iso"} {
		e := infraEnv(nil)
		e.Annotations = map[string]string{api.ImageTypeAnnotation: annotation}
		if status := reconcile(t, memory(t, e, pullSecret("{}"))).Status; !strings.HasSuffix(status.ISODownloadURL, want) {
			t.Errorf("%s: %s", annotation, status.ISODownloadURL)
		}
	}
	e := infraEnv(nil)
	e.Annotations = map[string]string{api.ImageTypeAnnotation: "disconnected-iso"}
	if status := reconcile(t, memory(t, e, pullSecret("{}"))).Status; !strings.Contains(status.Conditions[0].Message, `"disconnected-iso" is none of`) {
		t.Errorf("%+v", status)
	}
	e = infraEnv(func(s *agentv1beta1.InfraEnvSpec) { s.SSHAuthorizedKey = "no ISO" })
	if status := reconcile(t, memory(t, e, pullSecret("{}"))).Status; status.ISODownloadURL != "" || status.BootArtifacts.KernelURL == "" {
		t.Errorf("%+v", status)
	}
}

func agent(id, mac, state string, stage models.HostStage, bound bool) *agentv1beta1.Agent {
	a := &agentv1beta1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: "slipway", Name: id, Labels: map[string]string{api.InfraEnvLabel: "default"}}}
	a.Status.Inventory.Interfaces = []agentv1beta1.HostInterface{{MacAddress: mac}}
	a.Status.DebugInfo.State = state
	a.Status.Progress.CurrentStage = stage
	if bound {
		a.Spec.ClusterDeploymentName = &agentv1beta1.ClusterReference{Name: "demo"}
	}
	return a
}

func TestDeletionWaitsForBoundHosts(t *testing.T) {
	e := infraEnv(nil)
	e.Finalizers = []string{infraenv.Finalizer}
	deleted := metav1.NewTime(time.Now())
	e.DeletionTimestamp = &deleted
	busy := agent("h1", "", api.StateAddedToExistingCluster, "", true)
	c := memory(t, e, busy)
	if reconcile(t, c) == nil {
		t.Fatal("the InfraEnv of a bound host is gone")
	}
	if err := c.Delete(context.Background(), busy); err != nil {
		t.Fatal(err)
	}
	if reconcile(t, c) != nil {
		t.Error("the InfraEnv stays")
	}
}

func TestBootDecision(t *testing.T) {
	c := memory(t, infraEnv(nil),
		agent("11111111-0000-4000-8000-000000000001", "52:54:00:00:00:0a", api.StateAddedToExistingCluster, models.HostStageDone, true),
		agent("11111111-0000-4000-8000-000000000002", "52:54:00:00:00:0b", api.StateInstallingInProgress, models.HostStageRebooting, true),
		agent("11111111-0000-4000-8000-000000000003", "52:54:00:00:00:0c", api.StateInstallingInProgress, models.HostStageWritingImageToDisk, true),
		agent("11111111-0000-4000-8000-000000000004", "52:54:00:00:00:0d", api.StateReclaimingRebooting, "", false),
	)
	lookup := infraenv.Lookup{Client: c}
	for _, one := range []struct {
		mac, uuid string
		local     bool
	}{
		{"52:54:00:00:00:0A", "", true}, {"52-54-00-00-00-0a", "", true}, {"", "11111111-0000-4000-8000-000000000001", true},
		{"52:54:00:00:00:0b", "", true}, {"52:54:00:00:00:0c", "", false}, {"52:54:00:00:00:0d", "", false}, {"52:54:00:00:00:ff", "", false},
	} {
		local, found, err := lookup.BootDecision(t.Context(), one.mac, one.uuid, "x86_64")
		if err != nil || local != one.local || found == nil || found.Name != "default" {
			t.Errorf("%s%s: local %t, infraenv %v, %v", one.mac, one.uuid, local, found, err)
		}
	}
	if found, err := lookup.ByUID(t.Context(), uid); err != nil || found.Name != "default" {
		t.Errorf("by uid: %v", err)
	}
	if _, err := lookup.ByUID(t.Context(), "other"); !apierrors.IsNotFound(err) {
		t.Errorf("by a uid that is none: %v", err)
	}
	if found, err := (infraenv.Lookup{Client: c, DefaultName: "slipway/default"}).Default(t.Context(), "x86_64"); err != nil || found.UID != uid {
		t.Errorf("default: %v", err)
	}
	if _, err := (infraenv.Lookup{Client: memory(t)}).Default(t.Context(), "x86_64"); !apierrors.IsNotFound(err) {
		t.Errorf("default of none: %v", err)
	}
}

func TestBootDecisionOfDeclaredMachines(t *testing.T) {
	other := infraEnv(nil)
	other.Name, other.UID = "other", "bbbbbbbb-0000-4000-8000-000000000002"
	bmh := func(host, mac, env, boots string) *metal3v1alpha1.BareMetalHost {
		h := &metal3v1alpha1.BareMetalHost{ObjectMeta: metav1.ObjectMeta{
			Namespace: "slipway", Name: host, Labels: map[string]string{api.InfraEnvLabel: env}, Annotations: map[string]string{api.BootImageAnnotation: boots},
		}}
		h.Spec.BootMACAddress = mac
		return h
	}
	shown := bmh("h4", "", "other", "")
	shown.Status.HardwareDetails = &metal3v1alpha1.HardwareDetails{NIC: []metal3v1alpha1.NIC{{MAC: "52:54:00:00:00:0E"}}}
	lookup := infraenv.Lookup{DefaultName: "slipway/default", Client: memory(t, infraEnv(nil), other,
		bmh("h1", "52:54:00:00:00:0A", "other", ""), bmh("h2", "52:54:00:00:00:0b", "other", api.BootImageInstalled),
		bmh("h3", "52:54:00:00:00:0c", "other", api.BootImageInstalled), shown, bmh("h5", "52:54:00:00:00:0f", "", ""),
		bmh("h6", "52:54:00:00:00:10", "gone", ""),
		agent("11111111-0000-4000-8000-000000000003", "52:54:00:00:00:0c", api.StateReclaiming, "", false),
	)}
	for _, one := range []struct {
		mac, env string
		local    bool
	}{
		{"52:54:00:00:00:0a", "other", false},
		{"52-54-00-00-00-0B", "other", true},
		{"52:54:00:00:00:0c", "other", false}, // its Agent is the newer word
		{"52:54:00:00:00:0e", "other", false},
		{"52:54:00:00:00:0f", "default", false},
		{"52:54:00:00:00:ff", "default", false},
	} {
		local, found, err := lookup.BootDecision(t.Context(), one.mac, "", "x86_64")
		if err != nil || local != one.local || found == nil || found.Name != one.env {
			t.Errorf("%s: local %t, infraenv %v, %v", one.mac, local, found, err)
		}
	}
	if _, _, err := lookup.BootDecision(t.Context(), "52:54:00:00:00:10", "", "x86_64"); !apierrors.IsNotFound(err) {
		t.Errorf("a machine whose InfraEnv is not there yet: %v", err)
	}
}

func TestStaticNetwork(t *testing.T) {
	e := infraEnv(func(s *agentv1beta1.InfraEnvSpec) {
		s.NMStateConfigLabelSelector = metav1.LabelSelector{MatchLabels: map[string]string{"rack": "7"}}
	})
	one := func(namespace, rack, config string) *agentv1beta1.NMStateConfig {
		return &agentv1beta1.NMStateConfig{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "host", Labels: map[string]string{"rack": rack}},
			Spec: agentv1beta1.NMStateConfigSpec{
				Interfaces: []*agentv1beta1.Interface{{Name: "eth0", MacAddress: "52:54:00:00:00:01"}},
				NetConfig:  agentv1beta1.NetConfig{Raw: []byte(config)},
			},
		}
	}
	const good = "interfaces: [{name: eth0, type: ethernet, ipv4: {dhcp: true}}]"
	mine := one("elsewhere", "7", good)
	c := memory(t, e, pullSecret("{}"), mine, one("other", "8", "nonsense: 1"))
	first := reconcile(t, c)
	if first.Status.CreatedTime == nil || first.Status.Conditions[0].Reason != agentv1beta1.ImageCreatedReason {
		t.Fatalf("%+v", first.Status)
	}
	files, err := infraenv.Lookup{Client: c}.Network(t.Context(), first)
	if err != nil || len(files) != 5 || files[1].Name != "etc/assisted/network/host0/eth0.nmconnection" {
		t.Fatalf("%v %v", files, err)
	}
	change := func(config string) *agentv1beta1.InfraEnv {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(mine), mine); err != nil {
			t.Fatal(err)
		}
		mine.Spec.NetConfig.Raw = []byte(config)
		if err := c.Update(t.Context(), mine); err != nil {
			t.Fatal(err)
		}
		return reconcile(t, c)
	}
	second := change(strings.ReplaceAll(good, "dhcp: true", "address: [{ip: 192.0.2.1, prefix-length: 24}]"))
	broken := change("interfaces: [{name: eth0, type: ethernet, ethtool: {}}]")
	marks := map[string]bool{}
	for _, seen := range []*agentv1beta1.InfraEnv{first, second, broken} {
		marks[seen.Annotations[api.ImageAnnotation]] = true
	}
	condition := broken.Status.Conditions[0]
	if len(marks) != 3 || condition.Reason != agentv1beta1.ImageCreationErrorReason ||
		!strings.Contains(condition.Message, "NMStateConfig elsewhere/host: interfaces[0].ethtool: this key is not supported") {
		t.Errorf("%v %s %s", marks, condition.Reason, condition.Message)
	}
	if _, err := (infraenv.Lookup{Client: c}).Network(t.Context(), broken); err == nil {
		t.Error("a broken configuration is served")
	}
	if files, err := (infraenv.Lookup{Client: c}).Network(t.Context(), infraEnv(nil)); err != nil || files != nil {
		t.Errorf("without a selector: %v %v", files, err)
	}
}
