package redfish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-io/slipway/services/bmc"
)

type bios struct {
	ID                string `json:"@odata.id"`
	Attributes        map[string]any
	AttributeRegistry string
	Settings          struct {
		SettingsObject      ref
		SupportedApplyTimes []string
	} `json:"@Redfish.Settings"`
}

// change is what the BIOS ladder knows.
type change struct {
	bios       bios
	path       string
	attributes map[string]any
}

func (c change) onReset() bool {
	return slices.Contains(c.bios.Settings.SupportedApplyTimes, "OnReset")
}

// setAttributes is the ladder for BIOS attributes, bmc.md §2.8.
var setAttributes = []rung[change]{
	{
		name: "Settings: Attributes, ApplyTime OnReset", source: "Dell makes its job of it; only where the BMC lists the time: Lenovo refuses the property",
		method: http.MethodPatch, ifMatch: true, path: func(c change) string { return c.path }, offers: change.onReset,
		body: func(c change) map[string]any {
			return map[string]any{"Attributes": c.attributes, "@Redfish.SettingsApplyTime": map[string]any{"ApplyTime": "OnReset"}}
		},
	},
	{
		name: "Settings: Attributes", source: "Redfish; Lenovo XCC; Huawei wants the entity tag of this object (gofish #174)",
		method: http.MethodPatch, ifMatch: true, path: func(c change) string { return c.path },
		body: func(c change) map[string]any { return map[string]any{"Attributes": c.attributes} },
	},
}

// Attributes of the BIOS as text, and what the BMC's registry says of them, empty where there is none. Passwords are left out.
func (c *Client) Attributes(ctx context.Context) (map[string]string, bmc.AttributeSchema, error) {
	now, err := c.bios(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("read BIOS attributes: %w", err)
	}
	schema, err := c.registry(ctx, now.AttributeRegistry)
	if err != nil {
		return nil, nil, fmt.Errorf("read BIOS attribute registry: %w", err)
	}
	values := map[string]string{}
	for name, value := range now.Attributes {
		if !strings.Contains(name, "Password") && schema[name].Type != "Password" {
			values[name] = text(value)
		}
	}
	return values, schema, nil
}

// SetAttributes asks for BIOS attributes, which the machine takes at its next start. What is so already is not sent.
func (c *Client) SetAttributes(ctx context.Context, wanted map[string]string) error {
	now, err := c.bios(ctx)
	if err != nil {
		return fmt.Errorf("set BIOS attributes: %w", err)
	}
	schema, err := c.registry(ctx, now.AttributeRegistry)
	if err != nil {
		return fmt.Errorf("set BIOS attributes: %w", err)
	}
	known := change{bios: now, path: now.Settings.SettingsObject.ID, attributes: map[string]any{}}
	if known.path == "" {
		known.path = now.ID
	}
	for name, value := range wanted {
		current, found := now.Attributes[name]
		if !found {
			return &bmc.Fault{Kind: bmc.Unsupported, Err: fmt.Errorf("set BIOS attributes: this machine has no attribute %s", name)}
		}
		if text(current) == value {
			continue
		}
		known.attributes[name], err = typed(name, value, current, schema[name])
		if err != nil {
			return &bmc.Fault{Kind: bmc.Unsupported, Err: fmt.Errorf("set BIOS attributes: %w", err)}
		}
	}
	if len(known.attributes) == 0 {
		return nil
	}
	// Dell's job comes to its end only with the next start: it is not awaited.
	_, err = climb(ctx, c, "set BIOS attributes", setAttributes, func() change { return known }, nil)
	return err
}

func (c *Client) bios(ctx context.Context) (bios, error) {
	s, err := c.system(ctx)
	if err != nil {
		return bios{}, err
	}
	if s.Bios.ID == "" {
		return bios{}, &bmc.Fault{Kind: bmc.Unsupported, Err: errors.New("the BMC tells nothing of the BIOS")}
	}
	var now bios
	if _, err := c.get(ctx, s.Bios.ID, &now); err != nil {
		return bios{}, err
	}
	now.ID = s.Bios.ID
	return now, nil
}

// registryEntry is read by itself: vendors have bounds of -1 and a key "Readonly" (ironcore redfish_dell.go).
type registryEntry struct {
	AttributeName, Type    string
	LowerBound, UpperBound *float64
	MinLength, MaxLength   *float64
	ReadOnly               bool
	IsSystemUniqueProperty bool
	Value                  []struct{ ValueName, ValueDisplayName string }
}

// registry by its identifier; none when the BMC has none.
func (c *Client) registry(ctx context.Context, id string) (bmc.AttributeSchema, error) {
	schema := bmc.AttributeSchema{}
	if id == "" || c.shared.root.Registries.ID == "" {
		return schema, nil
	}
	members, err := c.members(ctx, c.shared.root.Registries.ID)
	if err != nil {
		return nil, err
	}
	index := slices.IndexFunc(members, func(member string) bool { return strings.HasSuffix(strings.TrimSuffix(member, "/"), "/"+id) })
	if index < 0 {
		return schema, nil
	}
	var file struct {
		Location []struct{ Language, Uri string }
	}
	if _, err := c.get(ctx, members[index], &file); err != nil {
		return nil, err
	}
	for _, location := range file.Location {
		if !strings.HasPrefix(strings.ToLower(location.Language), "en") && location.Language != "" {
			continue
		}
		var registry struct {
			RegistryEntries struct{ Attributes []registryEntry }
		}
		if _, err := c.get(ctx, localPath(location.Uri), &registry); err != nil {
			return nil, err
		}
		for _, entry := range registry.RegistryEntries.Attributes {
			schema[entry.AttributeName] = entry.attribute()
		}
		return schema, nil
	}
	return schema, nil
}

func (e registryEntry) attribute() bmc.Attribute {
	a := bmc.Attribute{Type: e.Type, ReadOnly: e.ReadOnly, Unique: e.IsSystemUniqueProperty, MinLength: whole(e.MinLength), MaxLength: whole(e.MaxLength)}
	for _, value := range e.Value {
		if value.ValueName == "" {
			value.ValueName = value.ValueDisplayName
		}
		a.Values = append(a.Values, value.ValueName)
	}
	// Dell's bounds of -1 are none.
	if e.LowerBound != nil && e.UpperBound != nil && *e.UpperBound >= *e.LowerBound && *e.UpperBound >= 0 {
		a.Lower, a.Upper = whole(e.LowerBound), whole(e.UpperBound)
	}
	return a
}

func whole(number *float64) *int {
	if number == nil || math.Abs(*number) > 1<<53 {
		return nil
	}
	n := int(*number)
	return &n
}

func text(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case nil:
		return ""
	default:
		out, err := json.Marshal(v)
		if err != nil {
			return ""
		}
		return string(out)
	}
}

// typed has value in the JSON type that the registry, or else the current value, has.
func typed(name, value string, current any, attribute bmc.Attribute) (any, error) {
	if attribute.ReadOnly || attribute.Type == "Password" || strings.Contains(name, "Password") {
		return nil, fmt.Errorf("%s can only be read", name)
	}
	_, isNumber := current.(float64)
	_, isBool := current.(bool)
	switch {
	case attribute.Type == "Integer" || attribute.Type == "" && isNumber:
		number, err := strconv.Atoi(value)
		if err != nil || attribute.Lower != nil && number < *attribute.Lower || attribute.Upper != nil && number > *attribute.Upper {
			return nil, fmt.Errorf("%s cannot be %q: it is a number%s", name, value, bounds(attribute))
		}
		return number, nil
	case attribute.Type == "Boolean" || attribute.Type == "" && isBool:
		truth, err := strconv.ParseBool(value)
		if err != nil {
			return nil, fmt.Errorf("%s cannot be %q: it is true or false", name, value)
		}
		return truth, nil
	case attribute.Type == "Enumeration" && len(attribute.Values) > 0 && !slices.Contains(attribute.Values, value):
		return nil, fmt.Errorf("%s cannot be %q: it is one of %s", name, value, strings.Join(attribute.Values, ", "))
	}
	return value, nil
}

func bounds(a bmc.Attribute) string {
	if a.Lower == nil || a.Upper == nil {
		return ""
	}
	return fmt.Sprintf(" from %d to %d", *a.Lower, *a.Upper)
}
