// @SUMMARY@
//
// The host calls the exports of this module by their names. Imports and types are those of wit/world.wit and of the contract that it
// includes, which lies in target/wit after the first build.

@IMPORTS@
// `[settings]` of @NAME@.toml.
let settings = {};

/** The contract's error variant: throw one of these, and the client gets it. */
const invalid = (field, message) => ({ tag: "invalid-input", val: { field, message } });
const failed = (message) => ({ tag: "failed", val: message });

export const lifecycle = {
  describe() {
    return { version: "0.1.0", summary: "@SUMMARY@", metrics: [] };
  },
  init(text) {
    settings = JSON.parse(text);
    checkSettings();
  },
  selfTest() {},
};

