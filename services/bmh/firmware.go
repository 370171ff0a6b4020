package bmh

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"

	"github.com/slipway-io/slipway/services/bmc"
)

// schemaLimit is what fits into an object with the rest, in bytes: vendors' registries take up to a third of it.
const schemaLimit = 1 << 20

// Schema of BIOS attributes in the words of the API; a registry that fits into no object is none, and the machine's own attributes are what
// settings are checked by.
func Schema(attributes bmc.AttributeSchema) map[string]metal3v1alpha1.SettingSchema {
	out, size := make(map[string]metal3v1alpha1.SettingSchema, len(attributes)), 0
	for name, a := range attributes {
		// 128 is about what stands around a name and its bounds in JSON.
		size += 128 + len(name)
		for _, value := range a.Values {
			size += 3 + len(value)
		}
		if size > schemaLimit {
			return map[string]metal3v1alpha1.SettingSchema{}
		}
		one := metal3v1alpha1.SettingSchema{
			AttributeType: a.Type, AllowableValues: a.Values, LowerBound: a.Lower, UpperBound: a.Upper, MinLength: a.MinLength, MaxLength: a.MaxLength,
		}
		if a.ReadOnly {
			one.ReadOnly = &a.ReadOnly
		}
		if a.Unique {
			one.Unique = &a.Unique
		}
		out[name] = one
	}
	return out
}

// SchemaName is by content: machines of one kind share one.
func SchemaName(vendor, model string, schema map[string]metal3v1alpha1.SettingSchema) (string, error) {
	text, err := json.Marshal([]any{vendor, model, schema})
	if err != nil {
		return "", fmt.Errorf("write firmware schema: %w", err)
	}
	sum := sha256.Sum256(text)
	return "schema-" + hex.EncodeToString(sum[:4]), nil
}

// Settings compares what is wanted with what the machine has: changes are to be made. The problem names every setting that
// cannot be, and then nothing is to be changed.
func Settings(wanted metal3v1alpha1.DesiredSettingsMap, now map[string]string, schema map[string]metal3v1alpha1.SettingSchema) (changes map[string]string, problem error) {
	changes = map[string]string{}
	var problems []string
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		value := wanted[name]
		if now[name] == value.String() {
			continue
		}
		if err := valid(name, value.String(), now, schema); err != nil {
			problems = append(problems, err.Error())
			continue
		}
		if rule, known := schema[name]; known {
			if err := rule.Validate(name, value); err != nil {
				problems = append(problems, err.Error())
				continue
			}
		}
		changes[name] = value.String()
	}
	if len(problems) > 0 {
		return changes, errors.New(strings.Join(problems, "; "))
	}
	return changes, nil
}

// valid where there may be no schema: the machine's own attributes are one.
func valid(name, value string, now map[string]string, schema map[string]metal3v1alpha1.SettingSchema) error {
	_, has := now[name]
	_, described := schema[name]
	switch {
	case strings.Contains(name, "Password"):
		return fmt.Errorf("setting %s: passwords cannot be set", name)
	case !has && !described:
		return fmt.Errorf("setting %s: this machine has none of that name", name)
	case len(value) > 4096:
		return fmt.Errorf("setting %s: the value has %d characters, of at most 4096", name, len(value))
	}
	return nil
}
