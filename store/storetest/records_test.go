package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/muster-network/muster/store/journal"
)

// What a test sees in Records is what it would see in a journal.
func TestRecordsAreAsAJournalWouldHaveThem(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		real, err := journal.Open("journal", journal.Options{FS: vfs.NewMem()})
		if err != nil {
			rt.Fatal(err)
		}
		defer real.Close() //nolint:errcheck // in memory
		var fake Records
		key := rapid.StringMatching(`[ab]/[ab]{0,2}`)
		for range rapid.IntRange(1, 20).Draw(rt, "appends") {
			entries := []journal.Entry{
				{Key: []byte(key.Draw(rt, "key")), Value: []byte{rapid.Byte().Draw(rt, "value")}},
				{Key: []byte(key.Draw(rt, "gone")), Delete: true, Prefix: rapid.Bool().Draw(rt, "with all below it")},
			}
			if rapid.Bool().Draw(rt, "the other way round") {
				slices.Reverse(entries)
			}
			if err := errors.Join(real.Append(t.Context(), entries...), fake.Append(t.Context(), entries...)); err != nil {
				rt.Fatal(err)
			}
		}
		one := []byte(key.Draw(rt, "one"))
		want, wantErr := real.Get(one)
		if got, err := fake.Get(one); string(got) != string(want) || !errors.Is(err, wantErr) {
			rt.Errorf("%s is %x, %v; want %x, %v", one, got, err, want, wantErr)
		}
		prefix, after, most := []byte(key.Draw(rt, "prefix")), []byte(key.Draw(rt, "after")), rapid.IntRange(1, 4).Draw(rt, "most")
		if rapid.Bool().Draw(rt, "from the start") {
			after = nil
		}
		scan := func(with func(prefix, after []byte, fn func(key, value []byte) (bool, error)) error) (seen []string) {
			if err := with(prefix, after, func(key, value []byte) (bool, error) {
				seen = append(seen, fmt.Sprintf("%s %x", key, value))
				return len(seen) < most, nil
			}); err != nil {
				rt.Fatal(err)
			}
			return seen
		}
		if got, want := scan(fake.Scan), scan(real.Scan); !slices.Equal(got, want) {
			rt.Errorf("below %s after %s: %q, want %q", prefix, after, got, want)
		}
	})
}
