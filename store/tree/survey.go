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
	found, err := NewSurveyor(src, limit).below(ctx, root, MaxDepth, maxFileDepth)
	return found.names, err
}

// Surveyor surveys result trees of one source, which may share what they name: it
// reads a block once, but a root for its own sake, however many of them name it.
type Surveyor struct {
	reader
	src     Sized
	limit   Limits             // of each tree
	seen    map[cid.Cid]extent // directories and nodes
	exits   map[cid.Cid]int32
	results map[cid.Cid]surveyed
}

// surveyed is what a survey found of a result.
type surveyed struct {
	names Names
	code  int32
}

// NewSurveyor returns a surveyor of trees that ReadResult would read within limit each.
func NewSurveyor(src Sized, limit Limits) *Surveyor {
	return &Surveyor{reader: reader{src: src, budget: budget{limit}}, src: src, limit: limit,
		seen: map[cid.Cid]extent{}, exits: map[cid.Cid]int32{}, results: map[cid.Cid]surveyed{}}
}

// Result returns the names of a result's outputs and its exit code, as Survey would and
// ReadResult, and nil if ReadResult and Read would return it within the limit.
func (s *Surveyor) Result(ctx context.Context, root cid.Cid) (Names, int32, error) {
	found, ok := s.results[root]
	if !ok {
		var err error
		if found, err = s.survey(ctx, root); err != nil {
			return Names{}, 0, err
		}
		s.results[root] = found
	}
	return found.names, found.code, nil
}

func (s *Surveyor) survey(ctx context.Context, root cid.Cid) (surveyed, error) {
	s.budget.left = s.limit
	n, err := s.result(ctx, root)
	if err != nil {
		return surveyed{}, err
	}
	whole := extent{directory: true, levels: 1, cost: Limits{Bytes: s.limit.Bytes - s.budget.left.Bytes, Blocks: 1}}
	var found surveyed
	if found.code, err = s.exitOnce(ctx, n.links[0].cid); err != nil {
		return surveyed{}, err
	}
	if err := s.entries(ctx, &whole, n, MaxDepth-1); err != nil {
		return surveyed{}, err
	}
	for _, l := range n.links {
		if s.seen[l.cid].directory != (l.name == entryOut) { // a leaf was not seen, and is none
			return surveyed{}, fmt.Errorf("%w: %s of a result is of another kind", ErrInvalid, l.name)
		}
	}
	found.names = s.seen[n.links[1].cid].names
	return found, nil
}

func (s *Surveyor) exitOnce(ctx context.Context, c cid.Cid) (int32, error) {
	if code, ok := s.exits[c]; ok {
		return code, nil
	}
	if c.Type() != cid.Raw {
		return 0, fmt.Errorf("%w: an exit code of several blocks", ErrInvalid)
	}
	code, err := s.exit(ctx, c)
	if err == nil {
		s.exits[c] = code
	}
	return code, err
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
func (s *Surveyor) below(ctx context.Context, c cid.Cid, directories, nodes int) (extent, error) {
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
func (s *Surveyor) entries(ctx context.Context, e *extent, n *node, directories int) error {
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
func (s *Surveyor) leaves(ctx context.Context, e *extent, n *node, nodes int) error {
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
func (s *Surveyor) charge(e *extent, part extent) error {
	e.cost.Bytes += part.cost.Bytes
	e.cost.Blocks += part.cost.Blocks
	if e.cost.Bytes > s.limit.Bytes || e.cost.Blocks > s.limit.Blocks {
		return ErrLimit
	}
	return nil
}
