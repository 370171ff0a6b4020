package image

import (
	"fmt"
	"slices"
	"strings"

	"github.com/openshift/assisted-service/api/v1beta1"

	"github.com/slipway-io/slipway/ipxe"
)

// changeArguments applies an InfraEnv's kernel arguments to those that a system boots with by default:
//
//	append   VALUE           puts it at the end
//	replace  KEY=NEW         stands where the first KEY=… stood, and for all of them; at the end when there is none
//	         KEY=OLD=NEW     KEY=NEW stands for KEY=OLD alone. Without a KEY=OLD it is read as KEY=NEW, since values may have
//	                         a "=" of their own; those of console have none, and network boots have no console by default
//	delete   KEY or KEY=OLD  goes wherever it stands
func changeArguments(defaults []string, changes []v1beta1.KernelArgument) ([]string, error) {
	arguments := slices.Clone(defaults)
	for _, change := range changes {
		if err := ipxe.Word(change.Value); err != nil {
			return nil, fmt.Errorf("kernel argument %q %w", change.Value, err)
		}
		switch change.Operation {
		case "append":
			arguments = append(arguments, change.Value)
		case "replace":
			replaced, err := replaceArgument(arguments, change.Value)
			if err != nil {
				return nil, err
			}
			arguments = replaced
		case "delete":
			arguments = slices.DeleteFunc(arguments, func(word string) bool { return matches(word, change.Value) })
		default:
			return nil, fmt.Errorf("kernel argument %q: operation %q is none of append, replace, delete", change.Value, change.Operation)
		}
	}
	return arguments, nil
}

func replaceArgument(arguments []string, value string) ([]string, error) {
	key, rest, ok := strings.Cut(value, "=")
	if !ok || key == "" {
		return nil, fmt.Errorf("kernel argument %q: replace wants KEY=NEW or KEY=OLD=NEW", value)
	}
	old, made := key, value
	if was, is, both := strings.Cut(rest, "="); both && (key == "console" || slices.Contains(arguments, key+"="+was)) {
		old, made = key+"="+was, key+"="+is
	}
	at := slices.IndexFunc(arguments, func(word string) bool { return matches(word, old) })
	if at < 0 {
		return append(arguments, made), nil
	}
	others := slices.DeleteFunc(arguments[at+1:], func(word string) bool { return matches(word, old) })
	return append(append(arguments[:at], made), others...), nil
}

// matches says whether an argument is the one that is named, with or without its value.
func matches(word, name string) bool {
	return word == name || !strings.Contains(name, "=") && strings.HasPrefix(word, name+"=")
}

// bootConfigSpecial is what GRUB and ISOLINUX do not take as it stands.
const bootConfigSpecial = "\"'\\$&;|<>{}#"

// isoArguments are the arguments of an ISO of the InfraEnv: what the ISO has by default, without its own root file system when it
// is minimal, with the InfraEnv's changes.
func isoArguments(defaults, kind, rootfs string, changes []v1beta1.KernelArgument) ([]string, error) {
	arguments := strings.Fields(defaults)
	if kind == minimalISO {
		arguments = slices.DeleteFunc(arguments, func(word string) bool { return matches(word, "coreos.liveiso") })
		arguments = append(arguments, "coreos.live.rootfs_url="+rootfs)
	}
	arguments, err := changeArguments(arguments, changes)
	if err != nil {
		return nil, err
	}
	for _, word := range arguments {
		if at := strings.IndexAny(word, bootConfigSpecial); at >= 0 {
			return nil, fmt.Errorf("kernel argument %q has a %q, which boot configurations of ISOs cannot hold", word, word[at])
		}
	}
	return arguments, nil
}

func joined(arguments []string) string { return strings.Join(arguments, " ") }
