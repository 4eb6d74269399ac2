import { check, mismatch, type SchemaResult, type Validate } from "./schema.ts";

/** What became of a message that a schema was shown: its value, or the field that is not as the contract says. */
export type CheckedMessage =
  | { readonly value: unknown; readonly problem?: undefined }
  | { readonly value?: undefined; readonly problem: string };

/**
 * Shows a message to the schema of a contract, for what carries messages in other ways than calls do.
 *
 * @param validate The schema's check.
 * @param message The message.
 * @returns The value that the schema made of it, or what is wrong, in constant words and without a value; a promise only where
 *   the schema takes its time.
 * @throws Whatever the schema throws.
 */
export function checkMessage(validate: Validate, message: unknown): CheckedMessage | Promise<CheckedMessage> {
  // An object without required members would take an empty list.
  if (Array.isArray(message)) return { problem: mismatch("The message", []) };
  const result = check(validate, message);
  return result instanceof Promise ? result.then(answer) : answer(result);
}

function answer({ value, issues }: SchemaResult): CheckedMessage {
  return issues ? { problem: mismatch("The message", issues) } : { value };
}
