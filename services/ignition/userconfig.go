package ignition

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/coreos/ignition/v2/config/v3_4/types"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// UserConfigError is a user's mistake in a ConfigMap of NodePool.spec.config.
type UserConfigError struct {
	ConfigMap string
	Err       error
}

func (e *UserConfigError) Error() string {
	return fmt.Sprintf("ConfigMap %s: %v", e.ConfigMap, e.Err)
}

func (e *UserConfigError) Unwrap() error { return e.Err }

// machineConfig is what Slipway reads of machineconfiguration.openshift.io/v1 MachineConfig and KubeletConfig.
type machineConfig struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              map[string]json.RawMessage `json:"spec"`
}

type userConfigs struct {
	machine []types.Config
	kubelet map[string]any
}

// parseUserConfigs reads all manifests; MachineConfigs are ordered by name, as their operator does it.
func parseUserConfigs(configs []UserConfig) (userConfigs, error) {
	var faults []error
	out := userConfigs{kubelet: map[string]any{}}
	machine := map[string]types.Config{}
	for _, config := range configs {
		err := eachDocument(config.Data, func(document []byte) error {
			return out.add(document, machine)
		})
		if err != nil {
			faults = append(faults, &UserConfigError{ConfigMap: config.Name, Err: err})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(machine)) {
		out.machine = append(out.machine, machine[name])
	}
	return out, errors.Join(faults...)
}

func eachDocument(data []byte, visit func([]byte) error) error {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	count := 0
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		if len(bytes.TrimSpace(document)) == 0 {
			continue
		}
		count++
		if err := visit(document); err != nil {
			return err
		}
	}
	if count == 0 {
		return fmt.Errorf("%w: key config is empty", ErrInvalid)
	}
	return nil
}

func (u *userConfigs) add(document []byte, machine map[string]types.Config) error {
	var object machineConfig
	if err := yaml.Unmarshal(document, &object); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	what := object.Kind + " " + object.Name
	if object.APIVersion != "machineconfiguration.openshift.io/v1" {
		return fmt.Errorf("%w: %s of %q is not supported: only MachineConfig and KubeletConfig of machineconfiguration.openshift.io/v1 are",
			ErrInvalid, what, object.APIVersion)
	}
	if object.Name == "" {
		return fmt.Errorf("%w: %s has no name", ErrInvalid, object.Kind)
	}
	switch object.Kind {
	case "MachineConfig":
		if _, twice := machine[object.Name]; twice {
			return fmt.Errorf("%w: %s is there twice", ErrInvalid, what)
		}
		config, err := object.ignition()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		machine[object.Name] = config
	case "KubeletConfig":
		fields, err := object.kubelet()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		mergeMaps(u.kubelet, fields)
	default:
		return fmt.Errorf("%w: %s is not supported: only MachineConfig and KubeletConfig are", ErrInvalid, what)
	}
	return nil
}

func (m machineConfig) ignition() (types.Config, error) {
	for _, field := range slices.Sorted(maps.Keys(m.Spec)) {
		if field != "config" && !blank(m.Spec[field]) {
			return types.Config{}, fmt.Errorf("%w: spec.%s is not supported, only spec.config is", ErrInvalid, field)
		}
	}
	if blank(m.Spec["config"]) {
		return types.Config{}, fmt.Errorf("%w: spec.config is missing", ErrInvalid)
	}
	config, err := parseUser(m.Spec["config"])
	if err != nil {
		return types.Config{}, fmt.Errorf("spec.config: %w", err)
	}
	return config, nil
}

// ownedByNode are kubelet settings that the node does not work without.
func ownedByNode(field string) bool {
	return slices.Contains([]string{
		"apiVersion", "kind", "authentication", "authorization", "cgroupDriver", "clusterDNS", "clusterDomain", "containerRuntimeEndpoint",
		"providerID", "registerWithTaints", "rotateCertificates", "serverTLSBootstrap", "staticPodPath", "staticPodURL", "readOnlyPort",
	}, field)
}

func (m machineConfig) kubelet() (map[string]any, error) {
	for _, field := range slices.Sorted(maps.Keys(m.Spec)) {
		// A NodePool is the only pool that its own configs can mean.
		if field != "kubeletConfig" && field != "machineConfigPoolSelector" && !blank(m.Spec[field]) {
			return nil, fmt.Errorf("%w: spec.%s is not supported, only spec.kubeletConfig is", ErrInvalid, field)
		}
	}
	var fields map[string]any
	if err := json.Unmarshal(m.Spec["kubeletConfig"], &fields); err != nil {
		return nil, fmt.Errorf("%w: spec.kubeletConfig is not an object", ErrInvalid)
	}
	if (fields["apiVersion"] == "kubelet.config.k8s.io/v1beta1" || fields["apiVersion"] == nil) &&
		(fields["kind"] == "KubeletConfiguration" || fields["kind"] == nil) {
		delete(fields, "apiVersion")
		delete(fields, "kind")
	}
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		if ownedByNode(field) {
			return nil, fmt.Errorf("%w: spec.kubeletConfig.%s belongs to Slipway", ErrInvalid, field)
		}
	}
	return fields, nil
}

// blank says that a manifest leaves the field as it is when nobody sets it.
func blank(value json.RawMessage) bool {
	switch strings.TrimSpace(string(value)) {
	case "", "null", `""`, "[]", "{}", "false":
		return true
	}
	return false
}

// mergeMaps puts what over has into base: objects are merged, everything else is replaced.
func mergeMaps(base, over map[string]any) {
	for key, value := range over {
		below, isMap := base[key].(map[string]any)
		above, bothMaps := value.(map[string]any)
		if isMap && bothMaps {
			mergeMaps(below, above)
			continue
		}
		base[key] = value
	}
}
