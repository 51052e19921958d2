#!/bin/bash
# A run on a SLURM cluster, one process a GPU; batch and learning rate are stated for all processes together:
#   sbatch scripts/slurm.sh task=segment data=cityscapes data.root=/data/cityscapes data.batch_size=64
#   sbatch --nodes=2 scripts/slurm.sh ...    what sbatch is told goes before what stands here
# A job that comes to its time limit saves, is queued again and goes on where it was; so does one that is preempted.
# What has a pretraining is two jobs: the experiment that its `pretrain` names, then itself with model.weights=RUN/checkpoints/best.ckpt.
#SBATCH --job-name=imagier
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append

cd "${SLURM_SUBMIT_DIR:?this script is for sbatch}" || exit
# Where runs lie is said by the words, by this machine's own settings, or by neither.
runs=$(python train.py "$@" --cfg job --resolve | sed -n '/^paths:/,$s/^  runs: //p' | tr -d "'\"")
earlier=$runs/slurm-$SLURM_JOB_ID
[[ -e $earlier/checkpoints/last.ckpt ]] && set -- "resume=$earlier"

export SRUN_CPUS_PER_TASK=${SRUN_CPUS_PER_TASK:-$SLURM_CPUS_PER_TASK} # which srun does not take over by itself
limit=
trap 'limit=near; kill -TERM "$!"' USR1 # $! is there as soon as the step is, a variable a moment later
srun python train.py "$@" &
wait "$!"
code=$?
if [[ $limit ]]; then
  wait "$!" # the signal has ended the first wait; the run is still saving, or has just come to its end
  code=$?
  ((code)) && scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
