// Makes sounds, one after the other, away from the page. Stands after the code that opens audiodiff.wasm.

let synth;

onmessage = async ({ data }) => {
  try {
    if (data.program) {
      await wasm_bindgen({ module_or_path: data.program });
      synth = new wasm_bindgen.Synth();
      postMessage({ classes: synth.classes(), mostVariations: wasm_bindgen.Synth.most_variations() });
      return;
    }
    const begun = performance.now();
    const sound = synth.sound(data.recipe);
    const milliseconds = performance.now() - begun;
    const [rate, channels, samples, wav] = [sound.sample_rate(), sound.channels(), sound.samples(), sound.wav()];
    sound.free();
    postMessage({ recipe: data.recipe, rate, channels, samples, wav, milliseconds }, [samples.buffer, wav.buffer]);
  } catch (error) {
    // The model's errors are plain ones; any other has stopped the program.
    const crashed = error.constructor !== Error;
    const trouble = crashed ? `${data.recipe ?? "the model"} stopped the program: ${error.message}` : error.message;
    postMessage({ recipe: data.recipe, crashed, trouble });
  }
};
