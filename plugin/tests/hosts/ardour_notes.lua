ardour {
  ["type"] = "dsp",
  name = "audiodiff test notes",
  license = "MIT",
  author = "audiodiff",
  description = [[Plays the pads one after the other, four a second, from the session's beginning on]]
}

function dsp_ioconfig()
  return { { midi_in = 1, midi_out = 1, audio_in = 0, audio_out = 0 } }
end

local every

function dsp_init(rate)
  every = math.floor(rate / 4)
end

function dsp_run(_, _, frames)
  local count = 0
  if Session:transport_rolling() then
    local start = Session:transport_sample()
    for at = math.ceil(start / every) * every, start + frames - 1, every do
      count = count + 1
      midiout[count] = { time = at - start + 1, data = { 0x90, 36 + math.floor(at / every) % 16, 100 } }
    end
  end
end
