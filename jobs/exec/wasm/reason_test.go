package wasm

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/muster-network/muster/jobs/exec"
	"github.com/muster-network/muster/jobs/exec/exectest/asm"
)

func TestAModuleOfLongNamesIsInvalidEverywhereForAShortReason(t *testing.T) {
	e := newExecutor(t, Config{})
	long := strings.Repeat("\u00e9", 1<<20)
	export := func(name string, index int) []byte {
		return asm.Join(asm.U(uint64(len(name))), []byte(name), 0, index)
	}
	start := export("_start", 0)
	for what, p := range map[string]asm.Program{
		"a name twice":                    {Extra: map[byte][]byte{sectionExport: asm.Join(3, start, export(long, 0), export(long, 0))}},
		"an odd name twice":               {Extra: map[byte][]byte{sectionExport: asm.Join(3, start, export("x"+long, 0), export("x"+long, 0))}},
		"a body that does not type-check": {Extra: map[byte][]byte{sectionExport: asm.Join(2, export(long, 0), start)}, Code: []byte{asm.Add}},
		"no such function":                {Extra: map[byte][]byte{sectionExport: asm.Join(2, start, export(long, 9))}},
	} {
		p.Pages = 1
		res := run(t, e, request(p.Module()))
		if res.Kind != exec.Trapped || res.Code != TrapInvalidModule {
			t.Errorf("%s: ended as %v %d (%.100s), want trap %d", what, res.Kind, res.Code, res.Reason, TrapInvalidModule)
		}
		if len(res.Reason) > maxReason || !strings.Contains(res.Reason, "\u00e9") || !utf8.ValidString(res.Reason) {
			t.Errorf("%s: reason of %d bytes: %.100q", what, len(res.Reason), res.Reason)
		}
	}
}
