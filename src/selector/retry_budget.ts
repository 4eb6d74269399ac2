/** How many further attempts there may be: in the long run a seventh of the calls, so that retries cannot become a storm. */
export interface RetryBudget {
  /** A call is made: it pays in a part of an attempt. */
  deposit(): void;
  /** Takes one attempt, where there is one. */
  take(): boolean;
}

/** A budget that begins full, with as many attempts as a client that lost one instance may need at once. */
export function retryBudget(): RetryBudget {
  let tokens = BURST;
  return {
    deposit() {
      tokens = Math.min(BURST, tokens + RATIO);
    },
    take() {
      if (tokens < 1) return false;
      tokens--;
      return true;
    },
  };
}

const BURST = 32;
const RATIO = 0.15;
