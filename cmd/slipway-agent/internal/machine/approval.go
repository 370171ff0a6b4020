package machine

import (
	"bytes"
	"os"
	"strings"
)

// approvalKey comes before the token on the kernel's command line and in SMBIOS.
const approvalKey = "slipway.approval="

// Approval is the token by which the site's policies know this machine: an OEM string of SMBIOS (type 11), which a hypervisor
// or a firmware's owner sets, else an argument of the kernel. Empty when there is none, or one that no header may carry.
func (r Root) Approval() string {
	// Without SMBIOS there is no such file.
	table, _ := os.ReadFile(r.Path("sys/firmware/dmi/tables/DMI"))
	for _, text := range oemStrings(table) {
		if token, is := strings.CutPrefix(text, approvalKey); is {
			return printable(token)
		}
	}
	for word := range strings.FieldsSeq(r.Line("proc/cmdline")) {
		if token, is := strings.CutPrefix(word, approvalKey); is {
			return printable(token)
		}
	}
	return ""
}

// oemStrings of an SMBIOS table. A structure has its type, the length of its fixed part, a handle and the rest of that part;
// then its strings, each with a NUL at its end, and one more NUL (DSP0134 §6.1).
func oemStrings(table []byte) []string {
	const header, oem = 4, 11
	var texts []string
	for len(table) >= header && int(table[1]) >= header && int(table[1]) <= len(table) {
		kind, rest := table[0], table[table[1]:]
		strings, after, whole := bytes.Cut(rest, []byte{0, 0})
		if !whole {
			return texts
		}
		if kind == oem {
			for text := range bytes.SplitSeq(strings, []byte{0}) {
				texts = append(texts, string(text))
			}
		}
		table = after
	}
	return texts
}

func printable(token string) string {
	const longest = 256
	if len(token) > longest || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ""
	}
	return token
}
