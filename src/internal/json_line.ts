/** How much of a value one line shows; beyond that it is cut and ends in an ellipsis. */
export interface LineLimits {
  /** The longest text, in UTF-16 code units. @default {4096} */
  readonly maxText?: number;
  /** The most members or items of one object or list. @default {50} */
  readonly maxItems?: number;
  /** The most objects and lists in all. @default {200} */
  readonly maxValues?: number;
  /** How deep objects and lists may nest. @default {8} */
  readonly maxDepth?: number;
  /** The most text in all, in UTF-16 code units, the names of members included. @default {1_048_576} */
  readonly maxTotal?: number;
}

/**
 * Writes a value as one line of JSON in which no text can forge another line or hide what follows it.
 *
 * Takes any value: errors are shown with what they hold, endless structures end, what throws when it is looked at is
 * named as that.
 *
 * @param value What to write; texts of it may come from an attacker.
 * @param limits How much of it to show.
 * @returns JSON without a line break, a control character, or a character that is not seen but acts.
 */
export function jsonLine(value: unknown, limits: LineLimits = {}): string {
  const resolved = { ...DEFAULTS, ...limits };
  const budget = { values: resolved.maxValues, text: resolved.maxTotal };
  return JSON.stringify(printable(value, { ...resolved, budget }, 0)).replace(UNSEEN, escaped);
}

interface Printing extends Required<LineLimits> {
  readonly budget: { values: number; text: number };
}

/** A copy that JSON can carry. */
function printable(value: unknown, printing: Printing, depth: number): unknown {
  if (typeof value === "string") return cut(value, printing.maxText, printing);
  if (value === undefined || value === null || typeof value === "boolean" || Number.isFinite(value)) return value;
  try {
    if (typeof value !== "object" || "toJSON" in value) return cut(String(value), printing.maxText, printing);
    if (depth > printing.maxDepth || --printing.budget.values < 0) return "…";
    if (Array.isArray(value)) {
      return value.slice(0, printing.maxItems).map((item) => printable(item, printing, depth + 1));
    }
    const whole = value instanceof Error ? { ...hidden(value), ...value } : value;
    const members = Object.entries(whole).slice(0, printing.maxItems);
    return Object.fromEntries(
      members.map(([key, member]) => [cut(key, MAX_KEY, printing), printable(member, printing, depth + 1)]),
    );
  } catch {
    return "a value that cannot be printed"; // what a handler throws may be an object that throws when it is looked at
  }
}

/** What `Object.entries` does not see of an error. */
const hidden = ({ name, message, stack, cause }: Error) => ({ name, message, stack, cause });

function cut(text: string, length: number, { budget }: Printing): string {
  const most = Math.min(length, Math.max(0, budget.text));
  budget.text -= Math.min(text.length, most);
  return text.length > most ? `${text.slice(0, most)}…` : text;
}

const escaped = (char: string) =>
  Array.from({ length: char.length }, (_, at) => `\\u${char.charCodeAt(at).toString(16).padStart(4, "0")}`).join("");

const DEFAULTS: Required<LineLimits> = {
  maxText: 4096,
  maxItems: 50,
  maxValues: 200,
  maxDepth: 8,
  maxTotal: 1_048_576,
};

const MAX_KEY = 128;

/** What JSON leaves as it is but a terminal or a viewer acts on: controls, line separators, directions, the unseen. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
