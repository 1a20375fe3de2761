package client

import "testing"

func FuzzDecodeNode(f *testing.F) {
	f.Add([]byte{0x0a, 0x02, 0x08, 0x01}) // an empty folder
	f.Add([]byte{0x12, 0x00, 0x0a, 0x02, 0x08, 0x02})
	f.Fuzz(func(t *testing.T, block []byte) {
		n, err := decodeNode(block)
		if err != nil {
			return
		}
		for _, l := range n.links {
			if checkCID(l.cid) != nil {
				t.Errorf("a link to %s", l.cid)
			}
		}
	})
}
