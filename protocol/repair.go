package protocol

// repairDecoders is decoders for what keeps a session alive: names, replays, hand-overs, signs of life.
func repairDecoders(typ string) decoder {
	switch typ {
	case typeNames:
		return decodeNames
	case typeReplay:
		return decodeReplay
	case typeReplayed:
		return decodeReplayed
	case typeParting:
		return decodeParting
	case typeHandOver:
		return decodeHandOver
	case typePage:
		return decodePage
	case typePing:
		return func(*fields) (int, func([]byte) any) { return empty(Ping{}) }
	case typeHeartbeat:
		return decodeHeartbeat
	}
	return nil
}

// readNames reads n names.
func readNames(b []byte, n int) []Digest {
	if n == 0 {
		return nil
	}
	names := make([]Digest, n)
	for i := range names {
		copy(names[i][:], b[nameBytes*i:])
	}
	return names
}

// sessionOf reads whose session a frame between hops is about.
func (f *fields) sessionOf(key *Key) {
	f.session()
	f.fixed("session", key[:], f.Session)
	if len(f.Owner) == 0 {
		f.fail("no owner")
	}
}

func decodeNames(f *fields) (int, func([]byte) any) {
	m := Names{Owner: f.peer("owner", f.Owner), Epoch: f.u32("epoch", f.Epoch)}
	f.sessionOf(&m.Session)
	n := f.num("names", f.header.Names, 0, f.lim.pages())
	return nameBytes * n, func(body []byte) any {
		m.Names = readNames(body, n)
		return m
	}
}

func decodeReplay(f *fields) (int, func([]byte) any) {
	f.session()
	m := Replay{Epoch: f.u32("epoch", f.Epoch), Through: f.peer("through", f.Through)}
	m.Until = uint32(f.num("until", f.Until, 1, f.lim.Context))
	m.From = uint32(f.num("from", f.Position, 0, max(int(m.Until)-1, 0)))
	if m.Through == "" {
		f.fail("through nobody")
	}
	return empty(m)
}

func decodeReplayed(f *fields) (int, func([]byte) any) {
	f.session()
	return empty(Replayed{Epoch: f.u32("epoch", f.Epoch), Position: uint32(f.num("position", f.Position, 0, f.lim.Context))})
}

func decodeParting(f *fields) (int, func([]byte) any) {
	f.session()
	return empty(Parting{WithinMS: uint32(f.num("deadline", f.Within, 0, maxDrainMS)), HandOverMS: f.u32("hand-over", f.header.HandOver)})
}

func decodeHandOver(f *fields) (int, func([]byte) any) {
	f.session()
	m := HandOver{Epoch: f.u32("epoch", f.Epoch)}
	return f.num("bytes of the successor's offer", f.header.Next, 1, MaxOfferBytes), func(body []byte) any {
		m.To = body
		return m
	}
}

func decodePage(f *fields) (int, func([]byte) any) {
	m := Page{Owner: f.peer("owner", f.Owner), Epoch: f.u32("epoch", f.Epoch), Final: f.Final,
		Hash: f.digest("hash", f.Model)}
	f.sessionOf(&m.Session)
	m.Index = uint32(f.num("index", f.Index, 0, max(f.lim.pages()-1, 0)))
	m.Tokens = uint32(f.num("tokens", f.Rows, 1, PageTokens))
	if f.Layer < -1 || f.Layer >= int64(f.lim.Layers) {
		f.fail("layer %d of %d", f.Layer, f.lim.Layers)
	}
	m.Layer = int32(f.Layer)
	return f.num("bytes", f.Bytes, 1, f.lim.maxPage()), func(body []byte) any {
		m.Bytes = body
		return m
	}
}

func decodeHeartbeat(f *fields) (int, func([]byte) any) {
	f.session()
	return empty(Heartbeat{Epoch: f.u32("epoch", f.Epoch), Number: f.number("number", f.Number, 0), Running: f.Running,
		Progress: f.number("progress", f.Progress, 0)})
}
