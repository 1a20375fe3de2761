package tree

import (
	"context"
	"fmt"

	"github.com/ipfs/go-cid"
)

// Names is what the files of a tree are called, without what is in them.
type Names struct {
	Files   int // with all that folders hold
	Bytes   int // of their paths, together
	Longest int // bytes of the longest path
	Depth   int // names in the deepest
}

// Survey returns the names of the directory root, as often as Read would return
// them; the blocks that hold only content are counted, and not read. It returns
// ErrInvalid or ErrLimit, or the error of src.
func Survey(ctx context.Context, src Source, root cid.Cid, limit Limits) (Names, error) {
	s := &surveyor{reader: reader{src: src, budget: budget{limit}}}
	n, err := s.directory(ctx, root)
	if err == nil {
		err = s.below(ctx, n, 0, 1)
	}
	return s.names, err
}

type surveyor struct {
	reader
	names Names
}

// below counts what is below a directory whose path has above bytes, its last
// slash included, and of which depth is how deep its entries are.
func (s *surveyor) below(ctx context.Context, n *node, above, depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("%w: more than %d directories deep", ErrInvalid, MaxDepth)
	}
	for _, l := range n.links {
		path := above + len(l.name)
		if l.cid.Type() == cid.DagProtobuf {
			child, err := s.node(ctx, l.cid)
			if err != nil {
				return err
			}
			if child.kind == kindDirectory {
				if err := s.below(ctx, child, path+1, depth+1); err != nil {
					return err
				}
				continue
			}
		} else if err := s.budget.take(nil); err != nil {
			return err
		}
		s.names.Files++
		s.names.Bytes += path
		s.names.Longest = max(s.names.Longest, path)
		s.names.Depth = max(s.names.Depth, depth)
	}
	return nil
}
