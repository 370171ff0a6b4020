package ignition

import (
	"errors"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestUserConfigRefusals(t *testing.T) {
	machine := func(spec string) string {
		return "apiVersion: machineconfiguration.openshift.io/v1\nkind: MachineConfig\nmetadata: {name: m}\nspec: " + spec + "\n"
	}
	kubelet := func(spec string) string {
		return "apiVersion: machineconfiguration.openshift.io/v1\nkind: KubeletConfig\nmetadata: {name: k}\nspec: " + spec + "\n"
	}
	for name, c := range map[string]struct{ data, want string }{
		"empty":           {"", "empty"},
		"no YAML":         {"{", "invalid"},
		"other kind":      {"apiVersion: machineconfiguration.openshift.io/v1\nkind: ContainerRuntimeConfig\nmetadata: {name: c}\n", "ContainerRuntimeConfig c is not supported"},
		"other group":     {"apiVersion: config.openshift.io/v1\nkind: ImageDigestMirrorSet\nmetadata: {name: i}\n", "ImageDigestMirrorSet i of"},
		"no name":         {"apiVersion: machineconfiguration.openshift.io/v1\nkind: MachineConfig\n", "has no name"},
		"no config":       {machine("{}"), "spec.config is missing"},
		"kernel args":     {machine("{kernelArguments: [quiet], config: {ignition: {version: 3.2.0}}}"), "spec.kernelArguments is not supported"},
		"old Ignition":    {machine("{config: {ignition: {version: 2.2.0}}}"), "MachineConfig m: spec.config"},
		"newer Ignition":  {machine("{config: {ignition: {version: 3.9.0}}}"), "MachineConfig m: spec.config"},
		"replace":         {machine("{config: {ignition: {version: 3.2.0, config: {replace: {source: 'https://x/y'}}}}}"), "replace"},
		"twice":           {machine("{config: {ignition: {version: 3.2.0}}}") + "---\n" + machine("{config: {ignition: {version: 3.2.0}}}"), "twice"},
		"owned field":     {kubelet("{kubeletConfig: {cgroupDriver: cgroupfs}}"), "spec.kubeletConfig.cgroupDriver belongs to Slipway"},
		"no kubelet":      {kubelet("{}"), "kubeletConfig is not an object"},
		"auto sizing":     {kubelet("{autoSizingReserved: true, kubeletConfig: {}}"), "spec.autoSizingReserved is not supported"},
		"anonymous logon": {kubelet("{kubeletConfig: {authentication: {anonymous: {enabled: true}}}}"), "authentication belongs"},
	} {
		t.Run(name, func(t *testing.T) {
			in := nodeInput()
			in.UserConfigs = []UserConfig{{Name: "mine", Data: []byte(c.data)}}
			_, err := Node(in)
			var mistake *UserConfigError
			if !errors.As(err, &mistake) || mistake.ConfigMap != "mine" {
				t.Fatalf("want a mistake in ConfigMap mine, got %v", err)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v does not say %q", err, c.want)
			}
		})
	}
}

// MachineConfigs apply in the order of their names, whatever the order of the ConfigMaps.
func TestMachineConfigOrder(t *testing.T) {
	config := func(name, text string) UserConfig {
		return UserConfig{Name: "cm-" + name, Data: []byte("apiVersion: machineconfiguration.openshift.io/v1\nkind: MachineConfig\nmetadata: {name: " + name +
			"}\nspec: {config: {ignition: {version: 3.4.0}, storage: {files: [{path: /etc/order, contents: {source: 'data:," + text + "'}}]}}}\n")}
	}
	in := nodeInput()
	in.UserConfigs = []UserConfig{config("90-last", "last"), config("10-first", "first")}
	raw, err := Node(in)
	if err != nil {
		t.Fatal(err)
	}
	if got := *fileOf(t, raw, "/etc/order").Contents.Source; got != "data:,last" {
		t.Errorf("got %s", got)
	}
}

func TestKubeletConfigMerge(t *testing.T) {
	raw, err := Node(nodeInput())
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := yaml.Unmarshal([]byte(content(t, fileOf(t, raw, "/etc/kubernetes/kubelet.yaml").Contents)), &config); err != nil {
		t.Fatal(err)
	}
	if config["maxPods"] != float64(42) || config["cgroupDriver"] != "systemd" {
		t.Errorf("got %v", config)
	}
}

func FuzzUserConfig(f *testing.F) {
	f.Add([]byte(nodeInput().UserConfigs[0].Data))
	f.Add([]byte("a: b\n---\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := nodeInput()
		in.UserConfigs = []UserConfig{{Name: "fuzz", Data: data}}
		if _, err := Node(in); err != nil && !errors.Is(err, ErrInvalid) {
			t.Fatalf("untyped error %v", err)
		}
	})
}
