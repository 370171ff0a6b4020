package nmstate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// mostBytes of a configuration.
const mostBytes = 256 << 10

// object is a mapping of the document. Keys that nobody has asked for when it is done are faults.
type object struct {
	path   string
	fields map[string]any
	asked  map[string]bool
	found  *faults
}

// document reads YAML strictly: a key that is there twice is a fault.
func document(config []byte, found *faults) *object {
	if len(config) > mostBytes {
		found.add("", "the configuration has %d bytes, at most %d are taken", len(config), mostBytes)
		return newObject("", nil, found)
	}
	asJSON, err := yaml.YAMLToJSONStrict(config)
	if err != nil {
		found.add("", "the configuration is no YAML: %v", err)
		return newObject("", nil, found)
	}
	decoder := json.NewDecoder(bytes.NewReader(asJSON))
	decoder.UseNumber()
	var root any
	if err := decoder.Decode(&root); err != nil {
		found.add("", "the configuration cannot be read: %v", err)
		return newObject("", nil, found)
	}
	return asObject("", root, found)
}

func newObject(path string, fields map[string]any, found *faults) *object {
	return &object{path: path, fields: fields, asked: map[string]bool{}, found: found}
}

// asObject takes a null for an empty mapping.
func asObject(path string, value any, found *faults) *object {
	fields, ok := value.(map[string]any)
	if !ok && value != nil {
		found.add(path, "%s is no mapping", show(value))
	}
	return newObject(path, fields, found)
}

func (o *object) at(key string) string {
	if o.path == "" {
		return key
	}
	return o.path + "." + key
}

// get gives a value, nil when there is none.
func (o *object) get(key string) any {
	o.asked[key] = true
	return o.fields[key]
}

func (o *object) has(key string) bool { return o.get(key) != nil }

// done reports the keys that are not supported.
func (o *object) done() {
	for _, key := range slices.Sorted(maps.Keys(o.fields)) {
		if !o.asked[key] {
			o.found.add(o.at(key), "this key is not supported")
		}
	}
}

func (o *object) object(key string) *object { return asObject(o.at(key), o.get(key), o.found) }

// objects are the elements of a list of mappings.
func (o *object) objects(key string) []*object {
	var all []*object
	for i, value := range o.list(key) {
		all = append(all, asObject(fmt.Sprintf("%s[%d]", o.at(key), i), value, o.found))
	}
	return all
}

func (o *object) list(key string) []any {
	value := o.get(key)
	list, ok := value.([]any)
	if !ok && value != nil {
		o.found.add(o.at(key), "%s is no list", show(value))
	}
	return list
}

func (o *object) words(key string) []string {
	var words []string
	for i, value := range o.list(key) {
		word, ok := value.(string)
		if !ok || word == "" {
			o.found.add(fmt.Sprintf("%s[%d]", o.at(key), i), "%s is no text", show(value))
			continue
		}
		words = append(words, word)
	}
	return words
}

func (o *object) text(key string) string {
	value := o.get(key)
	text, ok := value.(string)
	if !ok && value != nil {
		o.found.add(o.at(key), "%s is no text", show(value))
	}
	return text
}

// word is one of some texts, "" when it is not there.
func (o *object) word(key string, allowed ...string) string {
	text := o.text(key)
	if text != "" && !slices.Contains(allowed, text) {
		o.found.add(o.at(key), "%q is not supported, only %s", text, strings.Join(allowed, ", "))
	}
	return text
}

// number is -1 when it is not there.
func (o *object) number(key string, least, most int64) int64 {
	value := o.get(key)
	if value == nil {
		return -1
	}
	number, err := int64(0), strconv.ErrSyntax
	switch value := value.(type) {
	case json.Number:
		number, err = value.Int64()
	case string:
		number, err = strconv.ParseInt(value, 10, 64)
	}
	if err != nil || number < least || number > most {
		o.found.add(o.at(key), "%s is no number from %d to %d", show(value), least, most)
		return -1
	}
	return number
}

// yes is the given default when the key is not there.
func (o *object) yes(key string, otherwise bool) bool {
	value := o.get(key)
	if value == nil {
		return otherwise
	}
	yes, ok := value.(bool)
	if !ok {
		o.found.add(o.at(key), "%s is neither true nor false", show(value))
	}
	return yes
}

func (o *object) mac(key string) string {
	text := o.text(key)
	if text == "" {
		return ""
	}
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 {
		o.found.add(o.at(key), "%q is no MAC address", text)
		return ""
	}
	return mac.String()
}

// name is an interface's.
func (o *object) name(key string) string {
	text := o.text(key)
	if o.has(key) && !interfaceName.MatchString(text) {
		o.found.add(o.at(key), "%q is no interface name: up to 15 letters, digits, dots, dashes, underscores and @", text)
		return ""
	}
	return text
}

// address is the zero Addr when there is none.
func (o *object) address(key string) netip.Addr {
	text := o.text(key)
	if text == "" {
		return netip.Addr{}
	}
	address, err := netip.ParseAddr(text)
	if err != nil || address.Is4In6() || address.Zone() != "" {
		o.found.add(o.at(key), "%q is no address", text)
		return netip.Addr{}
	}
	return address
}

// show is a value as it may stand in a message.
func show(value any) string {
	switch value := value.(type) {
	case string:
		return strconv.Quote(value)
	case map[string]any:
		return "a mapping"
	case []any:
		return "a list"
	case nil:
		return "nothing"
	}
	return fmt.Sprint(value)
}
