package node

import (
	"testing"

	"github.com/muster-network/muster/jobs/member"
)

func TestAnAnswerHoldsAsMuchOfLogsAsFitsInto(t *testing.T) {
	for _, size := range []int{1, 40, 64 << 10, maxLogAnswer} {
		chunks := make([]member.LogChunk, 1<<20/size+4)
		for i := range chunks {
			chunks[i] = member.LogChunk{Stream: "stdout", Data: make([]byte, size)}
		}
		answers := 0
		for rest := chunks; len(rest) > 0; answers++ {
			page := logPage(rest)
			if len(page) == 0 {
				t.Fatal("an answer of nothing")
			}
			if data := encoded(t, logAnswer{Chunks: page}); len(data) > maxAnswer {
				t.Fatalf("%d chunks of %d bytes are an answer of %d", len(page), size, len(data))
			}
			rest = rest[len(page):]
		}
		if most := len(chunks)*(size+logChunkCost)/maxLogAnswer + 5; answers > most {
			t.Errorf("%d answers for %d chunks of %d bytes, want at most %d", answers, len(chunks), size, most)
		}
	}
}
