package diff

import (
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// answer is what a server said to a call, in a form that shows every field and is equal where the answers are.
type answer string

// answerOf puts together the messages of an answer and how it ended.
func answerOf(c call, messages []proto.Message, err error) answer {
	var lines []string
	if c.method == "RangeStream" {
		lines = chunkLines(messages)
	} else if methods[c.method].stream {
		for _, m := range messages {
			lines = append(lines, "streamed "+printMessage(m))
		}
	} else if err == nil {
		lines = append(lines, "ok "+printMessage(messages[0]))
	}
	if err != nil {
		s := status.Convert(err)
		line := fmt.Sprintf("error %s %s", s.Code(), quote(s.Message()))
		for _, detail := range s.Proto().GetDetails() {
			line += fmt.Sprintf(" detail %s %q", detail.TypeUrl, detail.Value)
		}
		lines = append(lines, line)
	}
	return answer(strings.TrimSpace(strings.Join(lines, "; ")))
}

// chunkLines folds a stream into the answer that its chunks merge to: where chunks end is the server's business. What
// the API promises about chunks is said where it does not hold.
func chunkLines(messages []proto.Message) []string {
	var lines []string
	var whole pb.RangeResponse
	for i, m := range messages {
		part := m.(*pb.RangeStreamResponse).GetRangeResponse()
		last := i == len(messages)-1
		if !last && (part.GetHeader() != nil || part.GetMore() || part.GetCount() != 0) {
			lines = append(lines, fmt.Sprintf("chunk %d of %d has what only the last may have: header %v, more %v, count %d",
				i+1, len(messages), part.GetHeader() != nil, part.GetMore(), part.GetCount()))
		}
		if !last && len(part.GetKvs()) == 0 {
			lines = append(lines, fmt.Sprintf("chunk %d of %d is empty", i+1, len(messages)))
		}
		proto.Merge(&whole, part)
	}
	if len(messages) > 0 {
		lines = append(lines, "streamed "+printMessage(&whole))
	}
	return lines
}
