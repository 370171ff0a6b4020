package archive

import (
	"github.com/slipway-io/slipway/mirror/plan"
)

// layout decides, before a byte is there, where each blob will be: in the order of the images, so that a segment has whole images as far as
// possible, every segment but the last exactly full. The same plan makes the same layout, which is what lets a run continue.
func layout(p *plan.Plan, assumed map[string]bool, segment int64) (pieces map[string][]Piece, sizes []int64, err error) {
	pieces = map[string][]Piece{}
	at := segment // the first blob opens the first segment
	place := func(digest string, left int64) {
		pieces[digest] = nil
		for left > 0 {
			if at == segment {
				sizes = append(sizes, 0)
				at = 0
			}
			piece := Piece{Segment: len(sizes) - 1, Offset: at, Length: min(left, segment-at)}
			pieces[digest] = append(pieces[digest], piece)
			at += piece.Length
			left -= piece.Length
			sizes[piece.Segment] = at
		}
	}
	for _, image := range p.Images {
		blobs, err := p.BlobsOf(image)
		if err != nil {
			return nil, nil, err
		}
		for _, digest := range blobs {
			if _, placed := pieces[digest]; !placed && !assumed[digest] {
				place(digest, p.Blobs[digest].Size)
			}
		}
	}
	return pieces, sizes, nil
}
