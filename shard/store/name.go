package store

import (
	"fmt"
	"strings"
)

// CheckName tells why name can't be a model's: a name must be a file name on every system that a store may move to.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("a model's name is empty")
	case len(name) > maxName:
		return fmt.Errorf("model name %.70q is longer than %d characters", name, maxName)
	case strings.HasSuffix(name, "."):
		return fmt.Errorf("model name %q ends in a dot", name)
	case !isAlphanumeric(name[0]):
		return fmt.Errorf("model name %q does not begin with a letter or a digit", name)
	}
	for i := range len(name) {
		if c := name[i]; !isAlphanumeric(c) && c != '.' && c != '_' && c != '-' {
			return fmt.Errorf("model name %q may hold letters, digits, '.', '_' and '-' alone", name)
		}
	}
	if isDevice(name) {
		return fmt.Errorf("model name %q is a device on Windows", name)
	}
	return nil
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// isDevice tells whether Windows takes name for a device, as it does with any extension.
func isDevice(name string) bool {
	stem, _, _ := strings.Cut(strings.ToLower(name), ".")
	switch stem {
	case "con", "prn", "aux", "nul":
		return true
	}
	return len(stem) == 4 && (stem[:3] == "com" || stem[:3] == "lpt") && '0' <= stem[3] && stem[3] <= '9'
}

// fold is the form in which names are compared: without case, as some file systems do.
func fold(name string) string { return strings.ToLower(name) }
