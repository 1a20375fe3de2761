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

// Sized is a Source that knows how long a block is without reading it.
type Sized interface {
	Source
	Size(ctx context.Context, c cid.Cid) (int, error)
}

// Survey returns the names of the directory root, as often as Read would return
// them, and nil if Read would return it within limit. It counts everything as
// often as the tree names it, but reads a block once, and of one that holds only
// content no more than its size: what it does is bounded by limit and by the blocks
// that are there. It returns ErrInvalid or ErrLimit, or the error of src.
func Survey(ctx context.Context, src Sized, root cid.Cid, limit Limits) (Names, error) {
	r := &reader{src: src, budget: budget{limit}}
	if _, err := r.directory(ctx, root); err != nil {
		return Names{}, err
	}
	found, err := newSurveyor(src, limit).below(ctx, root, MaxDepth, maxFileDepth)
	return found.names, err
}

// SurveyResult does the same with a result tree, as ReadResult and Read would read
// it. The names are those of its outputs.
func SurveyResult(ctx context.Context, src Sized, root cid.Cid, limit Limits) (Names, error) {
	s := newSurveyor(src, limit)
	n, err := s.result(ctx, root)
	if err != nil {
		return Names{}, err
	}
	whole := extent{directory: true, levels: 1, cost: Limits{Bytes: limit.Bytes - s.budget.left.Bytes, Blocks: 1}}
	if exit := n.links[0].cid; exit.Type() != cid.Raw {
		return Names{}, fmt.Errorf("%w: an exit code of several blocks", ErrInvalid)
	} else if _, err := s.exit(ctx, exit); err != nil {
		return Names{}, err
	}
	if err := s.entries(ctx, &whole, n, MaxDepth-1); err != nil {
		return Names{}, err
	}
	for _, l := range n.links {
		if s.seen[l.cid].directory != (l.name == entryOut) { // a leaf was not seen, and is none
			return Names{}, fmt.Errorf("%w: %s of a result is of another kind", ErrInvalid, l.name)
		}
	}
	return s.seen[n.links[1].cid].names, nil
}

// surveyor reads within limit, and finds what of a tree would not be read within it.
type surveyor struct {
	reader
	src   Sized
	limit Limits
	seen  map[cid.Cid]extent // of directories and nodes
}

func newSurveyor(src Sized, limit Limits) *surveyor {
	return &surveyor{reader: reader{src: src, budget: budget{limit}}, src: src, limit: limit, seen: map[cid.Cid]extent{}}
}

// extent is what a block and all below it come to, as often as they are named.
type extent struct {
	directory bool
	levels    int    // of directories, or of nodes above the leaves of a file
	content   uint64 // bytes of a file
	names     Names  // in a directory
	cost      Limits
}

// below returns the extent of c, which may have so many levels of directories, or
// of nodes if it is a file.
func (s *surveyor) below(ctx context.Context, c cid.Cid, directories, nodes int) (extent, error) {
	if c.Type() == cid.Raw {
		size, err := s.src.Size(ctx, c)
		return extent{content: uint64(size), cost: Limits{Bytes: int64(size), Blocks: 1}}, err
	}
	if e, ok := s.seen[c]; ok {
		return e, e.within(directories, nodes)
	}
	data, err := s.get(ctx, c)
	if err != nil {
		return extent{}, err
	}
	n, err := decode(data)
	if err != nil {
		return extent{}, fmt.Errorf("block %s: %w", c, err)
	}
	e := extent{directory: n.kind == kindDirectory, levels: 1, cost: Limits{Bytes: int64(len(data)), Blocks: 1}}
	if err := e.within(directories, nodes); err != nil {
		return extent{}, err
	}
	if e.directory {
		err = s.entries(ctx, &e, n, directories-1)
	} else {
		err = s.leaves(ctx, &e, n, nodes-1)
	}
	if err != nil {
		return extent{}, err
	}
	s.seen[c] = e
	return e, nil
}

func (e extent) within(directories, nodes int) error {
	most := nodes
	if e.directory {
		most = directories
	}
	if e.levels > most {
		return fmt.Errorf("%w: %d levels where there may be %d", ErrInvalid, e.levels, most)
	}
	return nil
}

// entries adds what a directory holds.
func (s *surveyor) entries(ctx context.Context, e *extent, n *node, directories int) error {
	for _, l := range n.links {
		child, err := s.below(ctx, l.cid, directories, maxFileDepth)
		if err == nil {
			err = s.charge(e, child)
		}
		if err != nil {
			return err
		}
		names := Names{Files: 1, Bytes: len(l.name), Longest: len(l.name), Depth: 1}
		if child.directory {
			names = child.names.under(l.name)
			e.levels = max(e.levels, child.levels+1)
		}
		e.names.Files += names.Files
		e.names.Bytes += names.Bytes
		e.names.Longest = max(e.names.Longest, names.Longest)
		e.names.Depth = max(e.names.Depth, names.Depth)
	}
	return nil
}

// under are names as they are in the directory above.
func (n Names) under(name string) Names {
	if n.Files == 0 {
		return n
	}
	prefix := len(name) + len("/")
	return Names{Files: n.Files, Bytes: n.Bytes + n.Files*prefix, Longest: n.Longest + prefix, Depth: n.Depth + 1}
}

// leaves adds what a file of several leaves holds.
func (s *surveyor) leaves(ctx context.Context, e *extent, n *node, nodes int) error {
	for i, l := range n.links {
		child, err := s.below(ctx, l.cid, 0, nodes)
		if err == nil {
			err = s.charge(e, child)
		}
		if err != nil {
			return err
		}
		if child.content != n.sizes[i] {
			return wrongPart(child.content, n.sizes[i])
		}
		e.levels = max(e.levels, child.levels+1)
	}
	e.content = n.content()
	return nil
}

// charge adds what a part of a tree costs. A part that costs too much is of a whole
// that does, so that no sum is ever much larger than the limit.
func (s *surveyor) charge(e *extent, part extent) error {
	e.cost.Bytes += part.cost.Bytes
	e.cost.Blocks += part.cost.Blocks
	if e.cost.Bytes > s.limit.Bytes || e.cost.Blocks > s.limit.Blocks {
		return ErrLimit
	}
	return nil
}
