/**
 * What is wrong with a stored log:
 *
 * - `altered`: a line is not what was written;
 * - `missing`: entries were taken out before others that are there, or from the start;
 * - `inserted`: a line was put in, or is there twice;
 * - `reordered`: entries, checkpoints or files are not in their order;
 * - `truncated`: the end was cut off, within a line or before what a kept checkpoint vouches for;
 * - `unsigned`: no trusted key vouches for the entries;
 * - `forked`: the signer signed two histories that contradict each other;
 * - `foreign`: a checkpoint or a file is of another log.
 */
export type AuditProblem =
  | "altered"
  | "missing"
  | "inserted"
  | "reordered"
  | "truncated"
  | "unsigned"
  | "forked"
  | "foreign";

/** The first thing that is wrong with a stored log. */
export interface AuditFinding {
  /** Never true. */
  readonly ok: false;
  /** What is wrong. */
  readonly problem: AuditProblem;
  /** The first entry that it can be. */
  readonly index: number;
  /** The last one; where it is the same as `index`, that entry is the one. */
  readonly lastIndex: number;
  /** All of it in words, without any content of the log. */
  readonly message: string;
}

/** Makes a finding about the entries from `index` to `lastIndex`. */
export function finding(
  problem: AuditProblem,
  [index, last]: readonly [number, number?],
  message: string,
): AuditFinding {
  return { ok: false, problem, index, lastIndex: Math.max(index, last ?? index), message };
}
