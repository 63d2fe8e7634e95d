'use strict';
// The run: rows of the data block made into what is drawn. A row is
// [nanoseconds since the row before, node, code, ...fields]; page.rs writes it. Times here are milliseconds.

const SENT = 0, DELIVERED = 1, LOST = 2, STATE = 3, BOOTED = 4, DOWN = 5, FAULT = 6, CURED = 7, DISK = 8, LOG = 9,
  BEGUN = 10, ENDED = 11, VIOLATION = 12;
const ARRIVED = 0, GONE = 1, UNDER_WAY = 2;
const OUTCOMES = ['done', 'not applied', 'unknown', 'open'];
const FLIGHTS_PER_CHUNK = 256;
// Kinds of faults that last, though no end of one of them may be seen, and those that a crash ends.
const LASTS = /pause|cut|isolation|split|hang|hung|full|slow|rate/, STUCK = /pause|hang|hung/;

function readRun(data) {
  const { about, names, events: rows } = data;
  const count = rows.length;
  const run = {
    about, names, rows, count,
    time: new Float64Array(count),
    nodes: [], lanes: new Map(), types: [], faults: [], requests: [], clients: [], violations: [], leaders: [],
    flightOf: new Int32Array(count).fill(-1), faultOf: new Map(), requestOf: new Map(),
    start: about.start_ns / 1e6, end: 0,
  };
  let ns = 0;
  for (let i = 0; i < count; i++) {
    ns += rows[i][0];
    run.time[i] = ns / 1e6;
    if (run.time[i] > run.end) run.end = run.time[i];
  }
  if (run.end <= run.start) run.end = run.start + 1;
  readLanes(run);
  readFlights(run);
  readFaults(run);
  readRequests(run);
  return run;
}

function laneOf(run, node) {
  let lane = run.lanes.get(node);
  if (!lane) {
    lane = { node, rows: [], states: [], bands: [], disk: [], logs: [], marks: [] };
    run.lanes.set(node, lane);
  }
  return lane;
}

// What belongs to one node: its events in order, and from them the bands of its role.
function readLanes(run) {
  for (let i = 0; i < run.count; i++) {
    const row = run.rows[i], node = row[1];
    const lane = laneOf(run, node);
    lane.rows.push(i);
    switch (row[2]) {
      case SENT: laneOf(run, row[4]); break;
      case STATE: lane.states.push(i); break;
      case DISK: lane.disk.push(i); break;
      case LOG: lane.logs.push(i); break;
      case FAULT: case CURED: if (node > 0) lane.marks.push(i); break;
      case VIOLATION: run.violations.push(i); break;
    }
  }
  run.nodes = [...run.lanes.keys()].filter((node) => node > 0).sort((a, b) => a - b);
  for (const lane of run.lanes.values()) {
    // Hosts take turns within a step, so rows of different nodes may be out of order; those of one node hardly ever are.
    lane.rows.sort((a, b) => run.time[a] - run.time[b] || a - b);
    if (lane.node > 0) readBands(run, lane);
  }
  run.leaders.sort((a, b) => run.time[a] - run.time[b]);
}

function readBands(run, lane) {
  let band = null;
  const next = (i, role, term, leader) => {
    const t = run.time[i];
    if (band) band.t1 = t;
    band = { t0: t, t1: run.end, role, term, leader, row: i };
    lane.bands.push(band);
  };
  for (const i of lane.rows) {
    const row = run.rows[i];
    if (row[2] === BOOTED) {
      if (!band || band.role !== 'starting') next(i, 'starting', band ? band.term : 0, null);
    } else if (row[2] === DOWN) {
      next(i, 'down', band ? band.term : 0, null);
    } else if (row[2] === STATE) {
      const role = run.names[row[3]];
      if (!band || band.role !== role || band.term !== row[4] || band.leader !== row[5]) {
        if (role === 'leader' && (!band || band.role !== role || band.term !== row[4])) run.leaders.push(i);
        next(i, role, row[4], row[5]);
      }
    }
  }
}

// Messages: each a line from its sending to its arrival, or to where it was lost. Sorted by sending, in chunks that know
// their latest arrival, so that what is visible is found without a look at all.
function readFlights(run) {
  const byNumber = new Map(), list = [];
  const typeOf = new Map();
  for (let i = 0; i < run.count; i++) {
    const row = run.rows[i];
    if (row[2] === SENT) {
      const name = run.names[row[5]];
      if (!typeOf.has(name)) { typeOf.set(name, run.types.length); run.types.push(name); }
      const flight = { row: i, end: -1, from: row[1], to: row[4], type: typeOf.get(name), fate: UNDER_WAY };
      byNumber.set(row[3], flight);
      list.push(flight);
    } else if (row[2] === DELIVERED || row[2] === LOST) {
      let flight = byNumber.get(row[3]);
      if (!flight) continue;
      if (flight.end >= 0) {
        // A repeated delivery is a line of its own.
        flight = { ...flight, again: true };
        list.push(flight);
      }
      flight.end = i;
      flight.fate = row[2] === DELIVERED ? ARRIVED : GONE;
    }
  }
  list.sort((a, b) => run.time[a.row] - run.time[b.row] || a.row - b.row);
  const n = list.length;
  const lags = [];
  for (const flight of list) if (flight.fate === ARRIVED) lags.push(run.time[flight.end] - run.time[flight.row]);
  lags.sort((a, b) => a - b);
  run.lag = lags.length ? Math.max(lags[lags.length >> 1], 1e-3) : 5;
  const flights = {
    n, list, t0: new Float64Array(n), t1: new Float64Array(n), type: new Uint8Array(n), fate: new Uint8Array(n),
    from: new Float64Array(n), to: new Float64Array(n), row: new Int32Array(n), end: new Int32Array(n),
    latest: new Float64Array(Math.ceil(n / FLIGHTS_PER_CHUNK)).fill(-Infinity),
  };
  list.forEach((flight, f) => {
    const t0 = run.time[flight.row];
    // Where a message was lost is seldom known: its line is as long as that of one that arrives.
    let t1 = flight.fate === ARRIVED ? run.time[flight.end] : t0 + run.lag;
    if (t1 < t0) t1 = t0;
    flights.t0[f] = t0; flights.t1[f] = t1; flights.type[f] = flight.type; flights.fate[f] = flight.fate;
    flights.from[f] = flight.from; flights.to[f] = flight.to; flights.row[f] = flight.row; flights.end[f] = flight.end;
    const chunk = Math.floor(f / FLIGHTS_PER_CHUNK);
    if (t1 > flights.latest[chunk]) flights.latest[chunk] = t1;
    if (!flight.again) run.flightOf[flight.row] = f;
    if (flight.end >= 0) run.flightOf[flight.end] = f;
  });
  run.flights = flights;
}

// The first index of a sorted array whose value is at least `value`.
function lowerBound(array, value, of = (item) => item, length = array.length) {
  let low = 0, high = length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (of(array[middle]) < value) low = middle + 1; else high = middle;
  }
  return low;
}

// Calls `each(f)` for every flight that is in the air between two instants.
function flightsBetween(run, t0, t1, each) {
  const flights = run.flights;
  const end = lowerBound(flights.t0, t1);
  for (let chunk = 0; chunk * FLIGHTS_PER_CHUNK < end; chunk++) {
    if (flights.latest[chunk] < t0) continue;
    const stop = Math.min(end, (chunk + 1) * FLIGHTS_PER_CHUNK);
    for (let f = chunk * FLIGHTS_PER_CHUNK; f < stop; f++) if (flights.t1[f] >= t0) each(f);
  }
}

// Faults: spans where their end was told, instants otherwise, packed into as few tracks as they need.
function readFaults(run) {
  const { about } = run, open = new Map();
  for (let i = 0; i < run.count; i++) {
    const row = run.rows[i];
    if (row[2] === DOWN) wakeByCrash(run, open, i);
    if (row[2] !== FAULT && row[2] !== CURED) continue;
    const kind = run.names[row[3]], key = row[1] + '/' + kind;
    if (row[2] === FAULT) {
      const fault = { row: i, end: -1, node: row[1], kind, text: row[4], t0: run.time[i], t1: run.time[i], track: -1 };
      run.faults.push(fault);
      run.faultOf.set(i, fault);
      if (!open.has(key)) open.set(key, []);
      open.get(key).push(fault);
    } else {
      let list = open.get(key) || [];
      if (row[4]) list = list.filter((fault) => fault.text.startsWith(row[4])).slice(-1);
      if (!list.length && about.let_go > 0 && row[4]) {
        // It began before what was kept.
        const fault = { row: i, end: i, node: row[1], kind, text: row[4], t0: run.start, t1: run.time[i], track: -1 };
        run.faults.push(fault);
        list = [fault];
      }
      for (const fault of list) {
        fault.end = i;
        fault.t1 = run.time[i];
        run.faultOf.set(i, fault);
      }
      open.set(key, (open.get(key) || []).filter((fault) => !list.includes(fault)));
    }
  }
  // What lasts and never ended lasts until the end.
  const lasting = new Set(run.faults.filter((fault) => fault.end >= 0).map((fault) => fault.kind));
  for (const fault of run.faults) {
    if (fault.end < 0 && (lasting.has(fault.kind) || LASTS.test(fault.kind))) fault.t1 = run.end;
    fault.lasts = fault.t1 > fault.t0;
  }
  run.faults.sort((a, b) => a.t0 - b.t0);
  const free = [];
  for (const fault of run.faults) {
    if (!fault.lasts && fault.node > 0) continue;
    let track = free.findIndex((t) => t <= fault.t0);
    if (track < 0) track = free.length < 5 ? free.length : 4;
    free[track] = Math.max(free[track] || 0, fault.t1);
    fault.track = track;
  }
  run.tracks = free.length;
  run.kinds = [...new Set(run.faults.map((fault) => fault.kind))].sort();
  for (const fault of run.faults) {
    if (fault.node > 0 && fault.lasts && /pause/.test(fault.kind)) {
      const lane = laneOf(run, fault.node);
      (lane.frozen = lane.frozen || []).push(fault);
    }
  }
}

// A node that crashes is no longer frozen, nor is its disk.
function wakeByCrash(run, open, i) {
  for (const [key, list] of open) {
    if (!key.startsWith(run.rows[i][1] + '/') || !STUCK.test(key)) continue;
    for (const fault of list) { fault.end = i; fault.t1 = run.time[i]; }
    open.delete(key);
  }
}

// Calls of clients: a row for each client, more where its calls overlap.
function readRequests(run) {
  const clients = new Map();
  for (let i = 0; i < run.count; i++) {
    const row = run.rows[i];
    if (row[2] === BEGUN) {
      const request = {
        row: i, end: -1, number: row[3], client: row[4], to: row[5], operation: row[6], outcome: 3, answer: '',
        t0: run.time[i], t1: run.end,
      };
      run.requestOf.set('r' + row[3], request);
      run.requestOf.set(i, request);
      run.requests.push(request);
    } else if (row[2] === ENDED) {
      const request = run.requestOf.get('r' + row[3]);
      if (!request) continue;
      request.end = i; request.t1 = run.time[i]; request.outcome = row[4]; request.answer = row[5];
      run.requestOf.set(i, request);
    }
  }
  run.requests.sort((a, b) => a.t0 - b.t0);
  for (const request of run.requests) {
    let tracks = clients.get(request.client);
    if (!tracks) clients.set(request.client, tracks = []);
    let track = tracks.find((list) => list[list.length - 1].t1 <= request.t0);
    if (!track) {
      if (tracks.length < 3) tracks.push(track = []); else track = tracks[2];
    }
    track.push(request);
  }
  for (const client of [...clients.keys()].sort((a, b) => a - b)) {
    clients.get(client).forEach((calls, track) => run.clients.push({ client, track, calls }));
  }
}

// An event in words: a short name and the rest.
function say(run, i) {
  const row = run.rows[i];
  const word = (number) => run.names[number];
  switch (row[2]) {
    case SENT: return [word(row[5]), `to node ${row[4]}, term ${row[6]}: ${row[7]}`];
    case DELIVERED: case LOST: {
      const f = run.flightOf[i];
      if (f < 0) return [row[2] === LOST ? 'lost' : 'arrived', `message ${row[3]}`];
      const sent = run.rows[run.flights.row[f]];
      if (row[2] === LOST) return [`${word(sent[5])} lost`, `to node ${sent[4]}: ${word(row[4])}`];
      return [word(sent[5]), `from node ${sent[1]}, term ${sent[6]}: ${sent[7]}`];
    }
    case STATE: {
      const why = row[10] === null ? '' : `: ${word(row[10])}`;
      return [word(row[3]), `term ${row[4]}, commit ${row[8]}, applied ${row[9]}, last ${row[6]}${why}`];
    }
    case BOOTED: return ['starts', ''];
    case DOWN: return ['down', row[3]];
    case FAULT: return [word(row[3]), row[4]];
    case CURED: return [`${word(row[3])} over`, row[4]];
    case DISK: return [word(row[3]), `${row[4]}${row[5] ? `, ${row[5]} bytes` : ''}`];
    case LOG: return ['log', row[3]];
    case BEGUN: return [`client ${row[4]}`, `to node ${row[5]}: ${row[6]}`];
    case ENDED: {
      const request = run.requestOf.get(i);
      const answer = `${OUTCOMES[row[4]]}: ${row[5]}`;
      return request ? [`client ${request.client}`, `${request.operation}: ${answer}`] : ['answer', answer];
    }
    case VIOLATION: return ['violation', row[3]];
  }
  return ['?', ''];
}

function nodeName(node) {
  return node > 0 ? `node ${node}` : 'world';
}

function seconds(ms, digits = 6) {
  return `${(ms / 1000).toFixed(digits)} s`;
}

function duration(ms) {
  const size = Math.abs(ms);
  if (size >= 1000) return `${(ms / 1000).toFixed(size >= 1e4 ? 1 : 2)} s`;
  if (size >= 1) return `${ms.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2)} ms`;
  return `${(ms * 1000).toFixed(size >= 0.01 ? 0 : 1)} µs`;
}

function counted(count, what) {
  return `${count.toLocaleString('en')} ${what}${count === 1 ? '' : 's'}`;
}

