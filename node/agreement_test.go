package node

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestALongReasonIsCutBetweenCharacters(t *testing.T) {
	for _, reason := range []string{"busy", strings.Repeat("a", maxReason), strings.Repeat("a", maxReason-1) + "éé", strings.Repeat("世", maxReason)} {
		cut := shortened(reason)
		if !utf8.ValidString(cut) || !strings.HasPrefix(reason, cut) || len(cut) > maxReason || len(cut) < min(len(reason), maxReason-utf8.UTFMax) {
			t.Errorf("%d bytes are cut to %d: %q", len(reason), len(cut), cut)
		}
	}
}

func TestAReasonIsTextHoweverShort(t *testing.T) {
	if got := shortened("no \xff\xfe module"); got != "no  module" {
		t.Errorf("%q", got)
	}
}
