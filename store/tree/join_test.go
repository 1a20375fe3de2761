package tree

import (
	"context"
	"testing"

	"github.com/muster-network/muster/store/storetest"
)

func TestADirectoryOfStoredEntriesIsTheOneWrittenAtOnce(t *testing.T) {
	ctx, b := context.Background(), &storetest.Memory{}
	files := []File{{"a/b", []byte("one")}, {"c", make([]byte, 3*ChunkSize+1)}, {"d", nil}}
	whole, err := Write(ctx, b, files)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := List(ctx, b, whole.Root)
	if err != nil {
		t.Fatal(err)
	}
	joined, err := WriteDirectory(ctx, b, entries)
	if err != nil {
		t.Fatal(err)
	}
	if joined.Root != whole.Root {
		t.Errorf("joined %s, written at once %s", joined.Root, whole.Root)
	}
	entries[0].Name = "x/y"
	if _, err := WriteDirectory(ctx, b, entries); err == nil {
		t.Error("a name with a slash was taken")
	}
}
