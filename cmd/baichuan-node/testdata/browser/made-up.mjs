// Swarms that are made up, as /api/swarm/events would tell of them: the same ones each time.
const names = [
  "ada", "büro-pc", "小明的电脑", "a-very-long-name-that-goes-on-and-on-up-to-its-64-bytes-aaaaaaaa", "<img src=x onerror=alert(1)>",
  "שלום עולם", "</bdi><script>alert(2)</script>", "", "javascript:alert(3)", "${7*7}{{7*7}}", "Z̴̛͔a̷͙͝l̸̰̀g̵̠̈o̷͕͝", "'; reboot; '",
];
const versions = ["v0.3.1", "v0.3.2-0.20261126040506-0123456789ab+dirty", "<b>v0</b>", undefined];
const ways = ["direct tcp", "direct quic ip6", "punched quic", "relay 12D3KooWRelay"];
const others = ["joining", "draining", "leaving", "unreachable"];

// draws gives numbers from 0 to 1, by a rule.
function draws(seed) {
  return () => (seed = (seed * 1103515245 + 12345) % 2147483648) / 2147483648;
}

function peer(i, layers, draw) {
  const length = 1 + Math.floor(draw() * Math.min(layers, 12));
  const start = Math.floor(draw() * (layers - length + 1));
  const state = draw() < 0.85 ? "online" : others[i % others.length];
  const id = `12D3KooW${Array.from({ length: 44 }, () => "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijk"[Math.floor(draw() * 35)]).join("")}`;
  const nick = names[i % names.length];
  return {
    peer: id, nick: nick && i >= names.length ? `${nick}-${i}` : nick, state, layers: `${start}:${start + length}`,
    target: draw() < 0.06 ? `${layers - length}:${layers}` : undefined,
    error: state === "unreachable" ? "<i>peer</i> 12D3KooW: connection refused" : undefined,
    device: ["cpu/avx512", "cpu/neon", "<u>gpu</u>"][i % 3], version: versions[i % versions.length],
    direct: i % ways.length !== 3, reached: ways[i % ways.length], relay: i % 9 === 0, addrs: [`/ip4/203.0.113.5/tcp/4001/p2p/${id}`],
    cache_tokens_free: Math.floor(draw() * 200000), decode_tokens_per_s: draw() * 90, prefill_tokens_per_s: draw() * 900,
    queue: i % 4, sessions: i % 7, rtt_ms: state === "unreachable" ? undefined : draw() * 280, age_s: draw() * 8,
  };
}

// madeUp makes a swarm of n peers, with more of what /api/swarm tells.
export function madeUp(n, layers, more = {}) {
  const draw = draws(n * 7 + layers);
  const peers = Array.from({ length: n }, (_, i) => peer(i, layers, draw));
  const ends = (p) => p.layers.split(":").map(Number);
  peers.sort((a, b) => ends(a)[0] - ends(b)[0] || ends(a)[1] - ends(b)[1]);
  for (const p of peers) p.near = peers.slice(0, 3).map((q) => ({ peer: q.peer, rtt_ms: draw() * 90 }));
  const coverage = Array.from({ length: layers }, (_, i) => peers.filter((p) => p.state === "online" && ends(p)[0] <= i && i < ends(p)[1]).length);
  const missing = coverage.flatMap((hosts, i) => (hosts === 0 ? [`${i}:${i + 1}`] : []));
  const chain = [];
  for (let at = 0; missing.length === 0 && at < layers;) {
    const next = peers.filter((p) => p.state === "online" && ends(p)[0] <= at).reduce((a, b) => (ends(b)[1] > ends(a)[1] ? b : a));
    chain.push({ peer: next.peer, layers: `${at}:${ends(next)[1]}` });
    at = ends(next)[1];
  }
  return {
    model: "baichuan2-13b-chat", model_id: "8d9442de740a67691bfc2ee9a021cdd5a0f1eb42ff6ab3b11c5f6d3115353147", models: ["baichuan2-13b-chat"],
    layers, peers, missing, coverage, private: false, version: "v0.3.2", join: peers[0]?.addrs[0],
    answer: chain.length > 0 ? { token_ms: 123.4, tokens_per_s: 8.1, chain } : undefined, ...more,
  };
}

// showMadeUp has a page be told of a swarm that is made up, and then of nothing more.
export function showMadeUp(page, swarm) {
  return page.route("**/api/swarm/events*", (route) => route.fulfill({
    status: 200, contentType: "text/event-stream", body: `data: ${JSON.stringify(swarm)}\n\n`,
  }));
}
