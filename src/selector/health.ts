/** How an attempt ended, as far as it says something of the instance. */
export type Verdict = "fine" | "failed" | "down" | "overtaken" | "none";

/** What became of one attempt. */
export interface Outcome {
  readonly verdict: Verdict;
  /** How long it took, in milliseconds. */
  readonly tookMs: number;
  /** Whether it was the one that tried the instance again. */
  readonly isProbe: boolean;
}

/** How well an instance has been doing, as this client sees it. */
export interface Health {
  /** Whether calls are kept away from it. */
  readonly isEjected: boolean;
  /** When it may be tried again, in milliseconds of the clock; undefined while it is not ejected. */
  readonly probeAtMs: number | undefined;
  /** How long its calls take, in milliseconds, the latest counting most; undefined as long as there were few. */
  readonly latencyMs: number | undefined;
  /**
   * Whether this call may try it again, and if so, that it does: one at a time.
   *
   * @param isRepeatable Whether the call can be made elsewhere when it fails; one that cannot goes only where nobody else
   * has gone for twice as long.
   */
  probe(isRepeatable: boolean): boolean;
  /** Takes in how an attempt ended; returns whether calls are to be kept away now that were not, or not any more. */
  observe(outcome: Outcome): boolean;
  /** Keeps calls away from it because it is slow. */
  eject(): void;
}

/**
 * Watches one instance. After three failures in a row, or one attempt to which there was no connection, calls are kept
 * away for a second; after each try that fails again for twice as long, up to a minute.
 *
 * @param now The clock, in milliseconds.
 */
export function healthOf(now: () => number): Health {
  const state: State = { ...UNKNOWN };
  return {
    get isEjected() {
      return state.probeAtMs !== undefined;
    },
    get probeAtMs() {
      return state.probeAtMs;
    },
    get latencyMs() {
      return state.samples < MIN_SAMPLES ? undefined : state.averageMs;
    },
    probe(isRepeatable) {
      const { probeAtMs, isProbing, ejectedMs } = state;
      if (probeAtMs === undefined || isProbing) return false;
      if (now() < probeAtMs + (isRepeatable ? 0 : ejectedMs)) return false;
      state.isProbing = true;
      return true;
    },
    observe(outcome) {
      if (outcome.isProbe) state.isProbing = false;
      if (outcome.verdict === "none") return false; // after a probe, the next call tries again
      if (outcome.verdict === "fine") return noteSuccess(state, outcome, now());
      if (outcome.verdict !== "overtaken" || outcome.isProbe) return noteFailure(state, outcome, now());
      sample(state, outcome.tookMs); // it may be slow; that another one is fast is no failure of its
      return false;
    },
    eject: () => eject(state, now()),
  };
}

/** What is remembered of one instance. */
interface State {
  /** How many attempts failed in a row. */
  failures: number;
  /** How many times in a row it was ejected. */
  strikes: number;
  /** For how long the last time, in milliseconds. */
  ejectedMs: number;
  probeAtMs: number | undefined;
  isProbing: boolean;
  returnedAtMs: number;
  averageMs: number;
  samples: number;
}

const UNKNOWN: State = {
  failures: 0,
  strikes: 0,
  ejectedMs: 0,
  probeAtMs: undefined,
  isProbing: false,
  returnedAtMs: -Infinity,
  averageMs: 0,
  samples: 0,
};

function noteSuccess(state: State, { tookMs, isProbe }: Outcome, nowMs: number): boolean {
  state.failures = 0;
  // Where too few are left, those that are kept out are called too.
  const isBack = state.probeAtMs !== undefined && (isProbe || nowMs >= state.probeAtMs);
  if (isBack) {
    state.probeAtMs = undefined;
    state.returnedAtMs = nowMs;
  }
  sample(state, tookMs);
  // It has been well for as long as it had been away: what was before is over.
  if (state.probeAtMs === undefined && nowMs - state.returnedAtMs > state.ejectedMs) state.strikes = 0;
  return isBack;
}

function sample(state: State, tookMs: number): void {
  state.averageMs = state.samples++ === 0 ? tookMs : state.averageMs + (tookMs - state.averageMs) * NEWEST;
}

function noteFailure(state: State, { verdict, isProbe }: Outcome, nowMs: number): boolean {
  const isEjected = state.probeAtMs !== undefined;
  if (isEjected && !isProbe) return false;
  if (!isProbe && verdict === "failed" && ++state.failures < FAILURES) return false;
  eject(state, nowMs);
  return !isEjected;
}

function eject(state: State, nowMs: number): void {
  state.ejectedMs = Math.min(FIRST_MS * 2 ** state.strikes++, MAX_MS);
  state.probeAtMs = nowMs + state.ejectedMs;
  state.failures = 0;
  state.samples = 0; // what it did before says nothing of what it is when it comes back
}

/**
 * Finds who takes much longer than the others: five times the middle one, and a tenth of a second more.
 *
 * @param healths Who is compared.
 * @returns Those that are too slow.
 */
export function tooSlow<Item extends { readonly health: Health }>(healths: readonly Item[]): readonly Item[] {
  const measured = healths.flatMap((item) => {
    const { isEjected, latencyMs } = item.health;
    return isEjected || latencyMs === undefined ? [] : [{ item, latencyMs }];
  });
  if (measured.length < MIN_COMPARED) return [];
  const middle = measured.map(({ latencyMs }) => latencyMs).sort((a, b) => a - b)[(measured.length - 1) >> 1]!;
  const most = Math.max(SLOWER * middle, middle + SLOWER_MS);
  return measured.filter(({ latencyMs }) => latencyMs > most).map(({ item }) => item);
}

/** How many failures in a row are too many. */
const FAILURES = 3;
/** How long calls are kept away at first and at most, in milliseconds. */
const FIRST_MS = 1_000;
const MAX_MS = 60_000;
/** How much the latest call counts in the average. */
const NEWEST = 0.2;
const MIN_SAMPLES = 10;
const MIN_COMPARED = 3;
const SLOWER = 5;
const SLOWER_MS = 100;
