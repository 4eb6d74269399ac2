/** A value that shows itself to nobody who does not ask for it by name. */
export interface Secret {
  /** The value itself; give it to what needs it and keep it nowhere else. */
  reveal(): string;
  /** `[secret]`, as everything that prints or serializes it gets. */
  toString(): string;
  /** `[secret]`. */
  toJSON(): string;
}

/**
 * Wraps a value so that logs, errors, `JSON.stringify`, template texts and `console.log` get `[secret]`.
 *
 * @example A join token from the environment
 * ```ts
 * import { secret } from "@postern/rpc/auth";
 *
 * const token = secret("from somewhere safe");
 * if (`${token}` !== "[secret]" || JSON.stringify({ token }) !== '{"token":"[secret]"}') throw new Error();
 * ```
 *
 * @param value The value.
 * @returns The secret.
 */
export function secret(value: string): Secret {
  const show = () => "[secret]";
  const hidden = { reveal: () => value, toString: show, toJSON: show, [Symbol.toPrimitive]: show };
  for (const name of INSPECTORS) Object.defineProperty(hidden, name, { value: show });
  return Object.freeze(hidden);
}

/** How Node and Bun, and Deno, let an object say how it is printed. */
const INSPECTORS = [Symbol.for("nodejs.util.inspect.custom"), Symbol.for("Deno.customInspect")];
