// The view: which stretch of time is seen, what is filtered out, and where things lie on the canvas.

const GUTTER = 86, RULER = 24, TRACK = 17, BAND = 18, WATER = 14, CALL = 15;
const LANE = BAND + WATER;

function makeView(run) {
  return {
    run,
    t0: run.start, span: run.end - run.start,
    width: 0, height: 0,
    hidden: { nodes: new Set(), types: new Set(), faults: new Set(), outcomes: new Set() },
    shown: { disk: false, logs: false },
    words: [], matches: null, found: [],
    selected: -1, hover: -1,
    scroll: 0,
    layout: null,
  };
}

function xOf(view, t) {
  return GUTTER + (t - view.t0) / view.span * (view.width - GUTTER);
}

function tOf(view, x) {
  return view.t0 + (x - GUTTER) / (view.width - GUTTER) * view.span;
}

// Keeps the run in sight, with a little air at both ends.
function settle(view) {
  const { run } = view, whole = run.end - run.start;
  view.span = Math.min(Math.max(view.span, Math.min(whole, run.lag / 20)), whole * 1.06);
  const air = view.span * 0.06;
  view.t0 = Math.min(Math.max(view.t0, run.start - air), run.end + air - view.span);
  if (view.span >= whole) view.t0 = run.start - (view.span - whole) / 2;
}

function pan(view, pixels) {
  view.t0 += pixels / (view.width - GUTTER) * view.span;
  settle(view);
}

function zoom(view, factor, x = GUTTER + (view.width - GUTTER) / 2) {
  const t = tOf(view, Math.max(x, GUTTER));
  const before = view.span;
  view.span *= factor;
  view.span = Math.min(Math.max(view.span, view.run.lag / 20), (view.run.end - view.run.start) * 1.06);
  view.t0 = t - (t - view.t0) * view.span / before;
  settle(view);
}

function lookAt(view, t0, t1) {
  view.t0 = t0;
  view.span = t1 - t0;
  settle(view);
}

// Brings an instant into sight: where it is, if it is already there.
function reveal(view, t) {
  const edge = view.span * 0.06;
  if (t < view.t0 + edge || t > view.t0 + view.span - edge) {
    view.t0 = t - view.span * 0.5;
    settle(view);
  }
}

// Where to look first: at the violation, or at the first election.
function firstLook(view) {
  const { run } = view;
  if (run.violations.length) return lookAtViolation(view);
  const near = run.leaders.length ? run.time[run.leaders[0]] : run.start;
  const span = Math.min(run.end - run.start, Math.max(60 * run.lag, 2 * run.lag + 40));
  lookAt(view, near - span * 0.45, near + span * 0.55);
}

function lookAtViolation(view) {
  const { run } = view, t = run.time[run.violations[0]];
  const span = Math.min(run.end - run.start, Math.max(80 * run.lag, 1));
  lookAt(view, t - span * 0.75, t + span * 0.25);
}

function nodesShown(view) {
  return view.run.nodes.filter((node) => !view.hidden.nodes.has(node));
}

// Rows of clients that have a call left to show.
function clientsShown(view) {
  return view.run.clients;
}

// Heights: ruler, faults, lanes with air between them, clients; what the lanes do not need the clients get.
function arrange(view) {
  const nodes = nodesShown(view), clients = clientsShown(view);
  const tracks = Math.min(view.run.tracks, 5);
  const faults = { y: RULER, height: tracks ? tracks * TRACK + 5 : 0 };
  const top = faults.y + faults.height;
  const rows = clients.length * CALL + 8;
  const room = view.height - top;
  const least = nodes.length * (LANE + 60), spare = Math.max(room - least, 5 * CALL);
  const clientsHeight = clients.length ? Math.min(rows, room * 0.36, spare) + 20 : 0;
  const clientsY = view.height - clientsHeight;
  const pitch = nodes.length ? Math.min((clientsY - top) / nodes.length, 260) : 0;
  const used = pitch * nodes.length;
  const lead = top + Math.max(0, (clientsY - top - used) / 2);
  const y = new Map();
  nodes.forEach((node, k) => y.set(node, lead + k * pitch + (pitch - LANE) / 2));
  view.layout = { faults, y, pitch, clients: { y: clientsY, height: clientsHeight, rows: rows + 20 }, nodes };
  const most = Math.max(0, view.layout.clients.rows - clientsHeight);
  view.scroll = Math.min(Math.max(view.scroll, 0), most);
}

// A message's line on the canvas: between the edges of two lanes that face each other.
function lineOf(view, f) {
  const { flights } = view.run, { y } = view.layout;
  const from = y.get(flights.from[f]), to = y.get(flights.to[f]);
  if (from === undefined || to === undefined) return null;
  const down = to > from;
  const line = {
    x0: xOf(view, flights.t0[f]), y0: down ? from + LANE : from,
    x1: xOf(view, flights.t1[f]), y1: down ? to : to + LANE,
  };
  if (flights.fate[f] === GONE) {
    line.x1 = line.x0 + (line.x1 - line.x0) * 0.55;
    line.y1 = line.y0 + (line.y1 - line.y0) * 0.55;
  }
  return line;
}

function isFlightShown(view, f) {
  const { flights } = view.run, { hidden } = view;
  return !hidden.types.has(flights.type[f]) && !hidden.nodes.has(flights.from[f]) && !hidden.nodes.has(flights.to[f]);
}

function isFaultShown(view, fault) {
  return !view.hidden.faults.has(fault.kind) && !(fault.node > 0 && view.hidden.nodes.has(fault.node));
}

// Whether an event is to be seen under the filters; the lists of the panel and the search go by it.
function isRowShown(view, i) {
  const { run, hidden, shown } = view, row = run.rows[i], code = row[2];
  if (row[1] > 0 && hidden.nodes.has(row[1])) return false;
  if (code <= LOST) return run.flightOf[i] < 0 || isFlightShown(view, run.flightOf[i]);
  if (code === DISK) return shown.disk;
  if (code === LOG) return shown.logs;
  if (code === FAULT || code === CURED) return !hidden.faults.has(run.names[row[3]]);
  if (code === BEGUN || code === ENDED) {
    const request = run.requestOf.get(i);
    return !request || !hidden.outcomes.has(request.outcome);
  }
  return true;
}

// Marks every event in whose words all searched words occur.
function search(view, text) {
  const { run } = view;
  view.words = text.toLowerCase().split(/\s+/).filter(Boolean);
  view.found = [];
  view.matches = null;
  if (!view.words.length) return;
  if (!run.texts) {
    run.texts = Array.from({ length: run.count }, (_, i) =>
      `${nodeName(run.rows[i][1])} ${say(run, i).join(' ')}`.toLowerCase());
  }
  view.matches = new Uint8Array(run.count);
  for (let i = 0; i < run.count; i++) {
    const words = run.texts[i];
    if (!view.words.every((word) => words.includes(word))) continue;
    view.matches[i] = 1;
    // An arrival is found with its sending.
    if (run.rows[i][2] !== DELIVERED || run.flightOf[i] < 0) view.found.push(i);
  }
  view.found.sort((a, b) => run.time[a] - run.time[b] || a - b);
}

