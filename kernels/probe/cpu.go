package probe

import (
	"bufio"
	"os"
	"runtime"
	"strings"
)

// CPU names the processor, as it or the system calls it.
func CPU() string {
	if name := nativeCPU(); name != "" {
		return name
	}
	if name := systemCPU("/proc/cpuinfo"); name != "" {
		return name
	}
	return runtime.GOARCH
}

// systemCPU finds the first model name in the list of processors that Linux keeps.
func systemCPU(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, found := strings.Cut(lines.Text(), ":"); found && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
