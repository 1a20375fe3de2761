package admission_test

import (
	"testing"
	"unicode"

	"github.com/muster-network/muster/consensus/admission"
)

// The list was made from Unicode 15.0: of what that knows, it takes what prints.
// Later versions may give a meaning to what it leaves open, and change nothing.
func TestTheListOfWhatDoesNotPrintIsThatOfUnicode15(t *testing.T) {
	if unicode.Version != "15.0.0" {
		t.Skipf("built with the tables of Unicode %s", unicode.Version)
	}
	for r := rune(0); r <= unicode.MaxRune; r++ {
		known := unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Cs, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Z)
		if known && admission.Printable(r) != unicode.IsPrint(r) {
			t.Errorf("%U prints: %v", r, unicode.IsPrint(r))
		}
	}
}

func TestANameMayNotTurnOrHideText(t *testing.T) {
	for _, r := range "\x00\n\x1b\x7f\u0085\u00a0\u00ad\u061c\u200b\u200d\u200e\u2028\u202e\u2066\u3000\ue000\ufeff\ufffe\U000e0041\U0010fffd" {
		if admission.Printable(r) {
			t.Errorf("%U is taken for what prints", r)
		}
	}
	for _, r := range " a~é文\u0301\ufe0f😀\ufffd\U000e0100\u0378\U0001fbff" { // the last but one has no meaning in Unicode 15
		if !admission.Printable(r) {
			t.Errorf("%U is refused", r)
		}
	}
}
